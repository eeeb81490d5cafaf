// SPDX-License-Identifier: Apache-2.0

package act

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

// ipprotoMPTCP is IPPROTO_MPTCP of linux/in.h: Go's listeners use it by default.
const ipprotoMPTCP = 262

// tcpiOptSynData is TCPI_OPT_SYN_DATA of linux/tcp.h: the bytes in the SYN were acknowledged.
const tcpiOptSynData = 32

// tcpActs hold one conversation: the actor is the client and calls a server in another process.
func tcpActs() []*Act {
	v4 := conversation{listen: loopback4(), call: loopback4()}
	v6 := conversation{listen: loopback6(), call: loopback6()}
	mapped := conversation{listen: netip.IPv6Unspecified(), call: netip.AddrFrom16(loopback4().As16())}
	multipath, live, fastOpen, shared := v4, v4, v4, v4
	multipath.protocol = ipprotoMPTCP
	live.live = true
	fastOpen.fastOpen = true
	shared.shared = true
	return []*Act{
		v4.act("tcp4", "one TCP conversation over IPv4"),
		v6.act("tcp6", "one TCP conversation over IPv6", needIPv6),
		mapped.act("tcp4-mapped", "one TCP conversation over IPv4 between IPv6 sockets (v4-mapped addresses)", needIPv6),
		multipath.act("tcp4-mptcp", "one TCP conversation with a listener that offers MPTCP, as Go's do",
			needSocket("MPTCP", unix.AF_INET, unix.SOCK_STREAM, ipprotoMPTCP)),
		live.act("tcp4-live", "a TCP connection that stays open"),
		fastOpen.act("tcp4-fastopen", "a TCP conversation whose first bytes travel with the SYN (TCP Fast Open)"),
		{
			Name: "tcp4-shared-port", Group: GroupNetwork,
			Summary: "a TCP conversation with one of two processes that listen on the same port, each at its own address",
			run:     shared.client,
			roles:   map[string]func(*stage) error{"server": shared.server, "neighbour": neighbour},
		},
		{
			Name: "tcp4-preforked", Group: GroupNetwork,
			Summary: "a TCP conversation with a child that the listening process forked before",
			run:     v4.client,
			roles:   map[string]func(*stage) error{"server": preforkedServer},
		},
	}
}

// conversation is one kind of TCP conversation: request, reply, the client closes first.
type conversation struct {
	// listen and call are the same address as the two sides name it.
	listen, call netip.Addr
	// port to listen on; 0 is any that is free.
	port uint16
	// protocol of the listening socket, and of the one that calls; 0 is TCP.
	protocol, callProtocol int
	// kind is the transport, when it is not TCP.
	kind spoorv1.Transport
	// live: nobody closes before the act is over.
	live     bool
	fastOpen bool
	// inside: the server has a network namespace of its own, and the client goes there to call it.
	inside bool
	// translate, when set, has the network change addresses on the way to the server, and returns what to call. The network is the act's own.
	translate func(server netip.AddrPort) (netip.AddrPort, error)
	// shared: another process listens on the server's port, later and at another address.
	shared bool
}

func (c conversation) act(name, summary string, needs ...need) *Act {
	return &Act{
		Name: name, Group: GroupNetwork, Lasting: c.live, Summary: summary, needs: needs, ownNetns: c.fastOpen || c.translate != nil,
		run: c.client, roles: map[string]func(*stage) error{"server": c.server},
	}
}

func (c conversation) transport() spoorv1.Transport {
	if c.kind != 0 {
		return c.kind
	}
	return tcp
}

// callServer starts the server and returns the address to call.
func (c conversation) callServer(s *stage) (netip.AddrPort, error) {
	server, err := s.helperWith(startOptions{role: "server", ownNetns: c.inside})
	if err != nil {
		return netip.AddrPort{}, err
	}
	m, err := server.hear()
	if err != nil {
		return netip.AddrPort{}, err
	}
	if c.inside {
		if err := enterNetns(server.pid()); err != nil {
			return netip.AddrPort{}, err
		}
	}
	if c.shared {
		other, err := s.helper("neighbour")
		if err != nil {
			return netip.AddrPort{}, err
		}
		if err := other.send(message{Addr: netip.AddrPortFrom(neighbour4(), m.Addr.Port())}); err != nil {
			return netip.AddrPort{}, err
		}
		if _, err := other.hear(); err != nil {
			return netip.AddrPort{}, err
		}
	}
	to := netip.AddrPortFrom(c.call, m.Addr.Port())
	if c.translate != nil {
		return c.translate(to)
	}
	return to, nil
}

// neighbour4 is another address of this machine.
func neighbour4() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 2}) }

// neighbour listens where it is told, and is not called.
func neighbour(s *stage) error {
	m, err := s.hear()
	if err != nil {
		return err
	}
	return conversation{listen: m.Addr.Addr(), port: m.Addr.Port()}.listenOnly(s)
}

func (c conversation) client(s *stage) error {
	if c.fastOpen {
		// Client and server, both without a cookie of an earlier connection.
		if err := setSysctl("ipv4/tcp_fastopen", "519"); err != nil {
			return err
		}
	}
	if c.translate != nil {
		if err := natAddresses(); err != nil {
			return err
		}
	}
	to, err := c.callServer(s)
	if err != nil {
		return err
	}
	conn, err := newSocket(domainOf(c.call), unix.SOCK_STREAM, c.callProtocol)
	if err != nil {
		return err
	}
	if c.fastOpen {
		err = os.NewSyscallError("sendto", unix.Sendto(conn.fd, fill(newByte, requestBytes), unix.MSG_FASTOPEN, sockaddr(to)))
	} else if err = conn.connect(to); err == nil {
		err = conn.send(requestBytes)
	}
	if err != nil {
		return err
	}
	local, err := conn.local()
	if err != nil {
		return err
	}
	if err := conn.receive(replyBytes); err != nil {
		return err
	}
	if c.fastOpen {
		info, err := unix.GetsockoptTCPInfo(conn.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return os.NewSyscallError("getsockopt TCP_INFO", err)
		}
		if info.Options&tcpiOptSynData == 0 {
			return fmt.Errorf("the server did not take the bytes in the SYN")
		}
	}
	flow := Flow{
		Transport: c.transport(), Direction: outbound, Local: local, Peer: netip.AddrPortFrom(to.Addr().Unmap(), to.Port()),
		Opened: 1, Sent: requestBytes, Received: replyBytes,
	}
	if c.live {
		s.cleanup(conn.close)
		return s.talked(flow)
	}
	flow.Closed = 1
	if err := conn.close(); err != nil {
		return err
	}
	return s.talked(flow)
}

// listenTCP makes the listening socket of a server and tells where it is.
func (c conversation) listenTCP(s *stage) (*socket, error) {
	l, err := newSocket(domainOf(c.listen), unix.SOCK_STREAM, c.protocol)
	if err != nil {
		return nil, err
	}
	if err := l.bind(netip.AddrPortFrom(c.listen, c.port)); err != nil {
		return nil, err
	}
	if c.fastOpen {
		if err := unix.SetsockoptInt(l.fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16); err != nil {
			return nil, os.NewSyscallError("setsockopt TCP_FASTOPEN", err)
		}
	}
	if err := l.listen(); err != nil {
		return nil, err
	}
	local, err := l.local()
	if err != nil {
		return nil, err
	}
	s.cleanup(l.close)
	if err := s.listens(c.transport(), local); err != nil {
		return nil, err
	}
	return l, s.tell(message{Addr: local})
}

func (c conversation) listenOnly(s *stage) error {
	_, err := c.listenTCP(s)
	return err
}

func (c conversation) server(s *stage) error {
	l, err := c.listenTCP(s)
	if err != nil {
		return err
	}
	conn, err := l.accept()
	if err != nil {
		return err
	}
	local, err := conn.local()
	if err != nil {
		return err
	}
	peer, err := conn.peer()
	if err != nil {
		return err
	}
	if err := conn.receive(requestBytes); err != nil {
		return err
	}
	if err := conn.send(replyBytes); err != nil {
		return err
	}
	flow := Flow{
		Transport: c.transport(), Direction: inbound, Local: local, Peer: peer,
		Opened: 1, Sent: replyBytes, Received: requestBytes,
	}
	if c.live {
		s.cleanup(conn.close)
		return s.talked(flow)
	}
	flow.Closed = 1
	if err := conn.receiveEnd(); err != nil {
		return err
	}
	if err := conn.close(); err != nil {
		return err
	}
	return s.talked(flow)
}

// preforkedServer listens, and has a child of its own take the connection.
func preforkedServer(s *stage) error {
	l, err := conversation{listen: loopback4()}.listenTCP(s)
	if err != nil {
		return err
	}
	buffer, err := s.pinned(fill(newByte, replyBytes))
	if err != nil {
		return err
	}
	name, err := s.pinned(make([]byte, unix.SizeofSockaddrInet4+4))
	if err != nil {
		return err
	}
	length := name[unix.SizeofSockaddrInet4:]
	binary.NativeEndian.PutUint32(length, unix.SizeofSockaddrInet4)
	const accepted = 1
	worker, err := s.fork(
		call{what: "accept4", nr: unix.SYS_ACCEPT4, args: [6]uintptr{uintptr(l.fd), address(name), address(length), unix.SOCK_CLOEXEC}},
		call{what: "recvfrom", nr: unix.SYS_RECVFROM, args: [6]uintptr{0, address(buffer), requestBytes, unix.MSG_WAITALL}, from: accepted},
		call{what: "write", nr: unix.SYS_WRITE, args: [6]uintptr{0, address(buffer), replyBytes}, from: accepted},
		call{what: "read", nr: unix.SYS_READ, args: [6]uintptr{0, address(buffer), 1}, from: accepted},
		call{what: "close", nr: unix.SYS_CLOSE, from: accepted},
	)
	if err != nil {
		return err
	}
	if err := worker.wait(); err != nil {
		return err
	}
	for i, want := range []int64{requestBytes, replyBytes, 0} {
		if got := worker.value(2 + i); got != want {
			return fmt.Errorf("worker: %s moved %d bytes instead of %d", worker.calls[1+i].what, got, want)
		}
	}
	raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(unsafe.SliceData(name)))
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&raw.Port))[:])
	local, err := l.local()
	if err != nil {
		return err
	}
	return s.talkedAs(Expectation{Tgid: worker.pid, Role: "worker"}, Flow{
		Transport: tcp, Direction: inbound, Local: local, Peer: netip.AddrPortFrom(netip.AddrFrom4(raw.Addr), port),
		Opened: 1, Closed: 1, Sent: replyBytes, Received: requestBytes,
	})
}
