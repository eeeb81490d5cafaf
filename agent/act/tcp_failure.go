// SPDX-License-Identifier: Apache-2.0

package act

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// tcpFailureActs are connections that do not come about or that end badly.
func tcpFailureActs() []*Act {
	reset := conversation{listen: loopback4(), call: loopback4()}
	return []*Act{{
		Name: "tcp4-refused", Group: GroupNetwork,
		Summary: "connect to a port on which nobody listens",
		run:     func(s *stage) error { return refused(s, loopback4()) },
	}, {
		Name: "tcp6-refused", Group: GroupNetwork,
		Summary: "connect over IPv6 to a port on which nobody listens",
		needs:   []need{needIPv6},
		run:     func(s *stage) error { return refused(s, loopback6()) },
	}, {
		Name: "tcp4-timeout", Group: GroupNetwork, ownNetns: true,
		Summary: "connect to an address that never answers, until the kernel gives up",
		run:     timedOut,
	}, {
		Name: "tcp4-reset", Group: GroupNetwork,
		Summary: "a TCP conversation that the server resets",
		run:     reset.resetClient,
		roles:   map[string]func(*stage) error{"server": reset.resetServer},
	}}
}

// refused calls a port that is bound, so that nobody else takes it, but not listened on.
func refused(s *stage, a netip.Addr) error {
	taken, err := newSocket(domainOf(a), unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := taken.bind(netip.AddrPortFrom(a, 0)); err != nil {
		return err
	}
	s.cleanup(taken.close)
	to, err := taken.local()
	if err != nil {
		return err
	}
	return s.failToConnect(to, unix.ECONNREFUSED, 0, Flow{Refused: 1})
}

func timedOut(s *stage) error {
	nowhere, err := blackhole()
	if err != nil {
		return err
	}
	// Newer kernels first repeat the SYN once a second; without that and with one more SYN it takes 3 s.
	if err := setSysctl("ipv4/tcp_syn_linear_timeouts", "0"); err != nil {
		return err
	}
	return s.failToConnect(netip.AddrPortFrom(nowhere, 9), unix.ETIMEDOUT, 1, Flow{TimedOut: 1})
}

// failToConnect connects, with a limit of repeated SYNs unless 0, and demands that it fails with want.
func (s *stage) failToConnect(to netip.AddrPort, want unix.Errno, syns int, f Flow) error {
	conn, err := newSocket(domainOf(to.Addr()), unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if syns > 0 {
		if err := unix.SetsockoptInt(conn.fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, syns); err != nil {
			return os.NewSyscallError("setsockopt TCP_SYNCNT", err)
		}
	}
	if err := conn.connect(to); !errors.Is(err, want) {
		return fmt.Errorf("connect to %v: %w instead of %w", to, err, want)
	}
	if err := conn.close(); err != nil {
		return err
	}
	f.Transport, f.Direction, f.Peer = tcp, outbound, to
	return s.talked(f)
}

func (c conversation) resetClient(s *stage) error {
	to, err := c.callServer(s)
	if err != nil {
		return err
	}
	conn, err := newSocket(domainOf(c.call), unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := conn.connect(to); err != nil {
		return err
	}
	local, err := conn.local()
	if err != nil {
		return err
	}
	if err := conn.send(requestBytes); err != nil {
		return err
	}
	if err := conn.receiveEnd(); !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("read: %w instead of %w", err, unix.ECONNRESET)
	}
	if err := conn.close(); err != nil {
		return err
	}
	return s.talked(Flow{
		Transport: tcp, Direction: outbound, Local: local, Peer: to, Opened: 1, Closed: 1, Sent: requestBytes,
	})
}

func (c conversation) resetServer(s *stage) error {
	l, err := c.listenTCP(s)
	if err != nil {
		return err
	}
	conn, err := l.accept()
	if err != nil {
		return err
	}
	peer, err := conn.peer()
	if err != nil {
		return err
	}
	local, err := conn.local()
	if err != nil {
		return err
	}
	if err := conn.receive(requestBytes); err != nil {
		return err
	}
	// Closing without lingering sends a reset.
	if err := unix.SetsockoptLinger(conn.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return os.NewSyscallError("setsockopt SO_LINGER", err)
	}
	if err := conn.close(); err != nil {
		return err
	}
	return s.talked(Flow{
		Transport: tcp, Direction: inbound, Local: local, Peer: peer, Opened: 1, Closed: 1, Received: requestBytes,
	})
}
