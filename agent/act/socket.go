// SPDX-License-Identifier: Apache-2.0

package act

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

const (
	tcp = spoorv1.Transport_TRANSPORT_TCP
	udp = spoorv1.Transport_TRANSPORT_UDP

	outbound = spoorv1.Direction_DIRECTION_OUTBOUND
	inbound  = spoorv1.Direction_DIRECTION_INBOUND

	// requestBytes go from client to server, replyBytes back.
	requestBytes = 100
	replyBytes   = 200
)

func loopback4() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
func loopback6() netip.Addr { return netip.IPv6Loopback() }

// socket is one end of a conversation. The acts use system calls themselves, because Go's own sockets work from whichever
// thread the poller likes.
type socket struct{ fd int }

func newSocket(domain, kind, protocol int) (*socket, error) {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &socket{fd}, nil
}

// domainOf is the address family in which an address is used: a v4-mapped one in IPv6.
func domainOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// addrPort is the reverse; v4-mapped addresses are unmapped, as in events.
func addrPort(sa unix.Sockaddr) (netip.AddrPort, error) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("address of type %T", sa)
	}
}

func (c *socket) bind(a netip.AddrPort) error {
	return os.NewSyscallError("bind", unix.Bind(c.fd, sockaddr(a)))
}

func (c *socket) connect(a netip.AddrPort) error {
	err := unix.Connect(c.fd, sockaddr(a))
	if errors.Is(err, unix.EISCONN) {
		err = nil // a signal had the kernel begin again, and SCTP was connected meanwhile
	}
	return os.NewSyscallError("connect", err)
}

func (c *socket) listen() error {
	return os.NewSyscallError("listen", unix.Listen(c.fd, 16))
}

func (c *socket) accept() (*socket, error) {
	fd, _, err := unix.Accept4(c.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("accept4", err)
	}
	return &socket{fd}, nil
}

func (c *socket) local() (netip.AddrPort, error) {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	return addrPort(sa)
}

func (c *socket) peer() (netip.AddrPort, error) {
	sa, err := unix.Getpeername(c.fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getpeername", err)
	}
	return addrPort(sa)
}

// send sends n bytes.
func (c *socket) send(n int) error {
	return os.NewSyscallError("write", writeAll(c.fd, fill(newByte, n)))
}

// receive waits for exactly n bytes of a stream.
func (c *socket) receive(n int) error {
	b := make([]byte, n)
	for len(b) > 0 {
		got, err := unix.Read(c.fd, b)
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		if got == 0 {
			return fmt.Errorf("the peer ended the conversation %d bytes early", len(b))
		}
		b = b[got:]
	}
	return nil
}

// receiveEnd waits for the other side to end the conversation.
func (c *socket) receiveEnd() error {
	n, err := unix.Read(c.fd, make([]byte, 1))
	if err != nil {
		return os.NewSyscallError("read", err)
	}
	if n != 0 {
		return fmt.Errorf("the peer said more than was agreed")
	}
	return nil
}

func (c *socket) close() error { return os.NewSyscallError("close", unix.Close(c.fd)) }

// talked says that this process took part in a conversation.
func (s *stage) talked(f Flow) error { return s.talkedAs(Expectation{}, f) }

func (s *stage) talkedAs(e Expectation, f Flow) error {
	id, err := netns()
	if err != nil {
		return err
	}
	f.Netns = id
	e.Kind, e.Flow = Connection, &f
	s.expect(e)
	return nil
}

// listens says that this process takes connections or datagrams at an address.
func (s *stage) listens(t spoorv1.Transport, local netip.AddrPort) error {
	id, err := netns()
	if err != nil {
		return err
	}
	s.expect(Expectation{Kind: Listening, Listen: &Listen{Transport: t, Local: local, Netns: id}})
	return nil
}
