// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// udpActs exchange datagrams between the actor, as the client, and a server in another process.
func udpActs() []*Act {
	return []*Act{
		exchange{at: loopback4(), connected: true, rounds: 1}.act("udp4-connected", "a datagram each way through a connected UDP socket"),
		exchange{at: loopback4(), rounds: 1}.act("udp4-unconnected", "a datagram each way by sendto and recvfrom"),
		exchange{at: loopback6(), connected: true, rounds: 1}.act("udp6-connected",
			"a datagram each way through a connected UDP socket over IPv6", needIPv6),
		exchange{at: loopback6(), rounds: 1}.act("udp6-unconnected", "a datagram each way by sendto and recvfrom over IPv6", needIPv6),
		exchange{at: loopback4(), connected: true, rounds: 50}.act("udp4-long", "fifty datagrams each way on one socket, as QUIC has them"),
	}
}

// exchange is a conversation by datagrams.
type exchange struct {
	at        netip.Addr
	connected bool
	rounds    int
}

func (x exchange) act(name, summary string, needs ...need) *Act {
	return &Act{
		Name: name, Group: GroupNetwork, Summary: summary, needs: needs,
		run: x.client, roles: map[string]func(*stage) error{"server": x.server},
	}
}

func (x exchange) client(s *stage) error {
	server, err := s.helper("server")
	if err != nil {
		return err
	}
	if err := server.send(message{Number: int64(x.rounds)}); err != nil {
		return err
	}
	m, err := server.hear()
	if err != nil {
		return err
	}
	to := m.Addr
	conn, err := newSocket(domainOf(x.at), unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if x.connected {
		if err := conn.connect(to); err != nil {
			return err
		}
	}
	for range x.rounds {
		if err := x.ask(conn, to); err != nil {
			return err
		}
	}
	// The server knows from which address the datagrams came; an unconnected socket has none.
	m, err = server.hear()
	if err != nil {
		return err
	}
	s.cleanup(conn.close)
	n := int64(x.rounds)
	return s.talked(Flow{
		Transport: udp, Direction: outbound, Local: m.Addr, Peer: to, Sent: n * requestBytes, Received: n * replyBytes,
	})
}

// ask sends one request and waits for its reply.
func (x exchange) ask(conn *socket, to netip.AddrPort) error {
	if x.connected {
		if err := conn.send(requestBytes); err != nil {
			return err
		}
		return conn.receive(replyBytes)
	}
	if err := unix.Sendto(conn.fd, fill(newByte, requestBytes), 0, sockaddr(to)); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	n, _, err := unix.Recvfrom(conn.fd, make([]byte, 2*replyBytes), 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n != replyBytes {
		return fmt.Errorf("a reply of %d bytes instead of %d", n, replyBytes)
	}
	return nil
}

func (x exchange) server(s *stage) error {
	m, err := s.hear()
	if err != nil {
		return err
	}
	conn, err := newSocket(domainOf(x.at), unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := conn.bind(netip.AddrPortFrom(x.at, 0)); err != nil {
		return err
	}
	s.cleanup(conn.close)
	local, err := conn.local()
	if err != nil {
		return err
	}
	if err := s.listens(udp, local); err != nil {
		return err
	}
	if err := s.tell(message{Addr: local}); err != nil {
		return err
	}
	var from unix.Sockaddr
	for range m.Number {
		var n int
		if n, from, err = unix.Recvfrom(conn.fd, make([]byte, 2*requestBytes), 0); err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		if n != requestBytes {
			return fmt.Errorf("a request of %d bytes instead of %d", n, requestBytes)
		}
		if err := unix.Sendto(conn.fd, fill(newByte, replyBytes), 0, from); err != nil {
			return os.NewSyscallError("sendto", err)
		}
	}
	peer, err := addrPort(from)
	if err != nil {
		return err
	}
	if err := s.talked(Flow{
		Transport: udp, Direction: inbound, Local: local, Peer: peer, Sent: m.Number * replyBytes, Received: m.Number * requestBytes,
	}); err != nil {
		return err
	}
	return s.tell(message{Addr: peer})
}
