// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// The names that the server of the tests knows, and what they lead to: all of it is the loopback device.
var (
	aliased    = zone{name: "www.spoor.test.", alias: "edge.spoor.test.", v4: "127.0.0.7"}
	plain      = zone{name: "api.spoor.test.", v4: "127.0.0.8"}
	overIPv6   = zone{name: "six.spoor.test.", v4: "127.0.0.9"}
	unasked    = zone{name: "unasked.spoor.test.", v4: "127.0.0.10"}
	unknown    = "none.spoor.test."
	serverAddr = netip.MustParseAddrPort("127.0.0.1:53")
	port       = 8080
)

type zone struct{ name, alias, v4 string }

// converse is what the client process does: it looks names up in every way that programs have, and calls what it found.
func converse() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	var servers []net.PacketConn
	for _, at := range []string{"127.0.0.1:53", "[::1]:53"} {
		conn, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		servers = append(servers, conn)
		go serve(conn)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	for _, step := range []func() error{lookUp, lookUpNothing, ask, ask6, hearUnasked} {
		if err := step(); err != nil {
			return err
		}
	}
	errs := []error{l.Close()}
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// lookUp asks as Go's own resolver does: by a connected socket that is read without asking for the sender.
func lookUp() error {
	addrs, err := resolver().LookupHost(context.Background(), aliased.name)
	if err != nil {
		return err
	}
	return call(addrs[0])
}

func lookUpNothing() error {
	addrs, err := resolver().LookupHost(context.Background(), unknown)
	if missing := new(net.DNSError); !errors.As(err, &missing) || !missing.IsNotFound {
		return fmt.Errorf("look up %s: %v, %w", unknown, addrs, err)
	}
	return nil
}

func resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", serverAddr.String())
	}}
}

// ask does what getaddrinfo(3) does: a connected socket, and the sender asked for. Upper case is mixed in, as resolvers do
// against forged answers.
func ask() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: serverAddr.Addr().As4(), Port: int(serverAddr.Port())}); err != nil {
		return err
	}
	if _, err := unix.Write(fd, question("aPi.SpOoR.TeSt.")); err != nil {
		return err
	}
	if _, _, err := unix.Recvfrom(fd, make([]byte, 512), 0); err != nil {
		return err
	}
	return call(plain.v4)
}

// ask6 asks over IPv6 by a socket that is not connected.
func ask6() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	to := &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16(), Port: int(serverAddr.Port())}
	if err := unix.Sendto(fd, question(overIPv6.name), 0, to); err != nil {
		return err
	}
	if _, _, err := unix.Recvfrom(fd, make([]byte, 512), 0); err != nil {
		return err
	}
	return call(overIPv6.v4)
}

// hearUnasked gets an answer to what it did not ask, on a socket that never asked anything.
func hearUnasked() error {
	victim, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	forger, err := net.ListenPacket("udp", "127.0.0.2:53")
	if err != nil {
		return err
	}
	message, err := answer(question(unasked.name))
	if err != nil {
		return err
	}
	if _, err := forger.WriteTo(message, victim.LocalAddr()); err != nil {
		return err
	}
	if _, _, err := victim.ReadFrom(make([]byte, 512)); err != nil {
		return err
	}
	return errors.Join(call(unasked.v4), victim.Close(), forger.Close())
}

func call(address string) error {
	c, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return c.Close()
}

func question(name string) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: uint16(os.Getpid()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}},
	}
	b, err := m.Pack()
	if err != nil {
		panic(err) // the names are ours
	}
	return b
}

func serve(conn net.PacketConn) {
	b := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return // closed
		}
		message, err := answer(b[:n])
		if err == nil {
			_, err = conn.WriteTo(message, from)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
		}
	}
}

// answer says what the zones have, with a short life.
func answer(b []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return nil, err
	}
	m.Response, m.Additionals = true, nil
	asked := m.Questions[0]
	head := func(name string) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 7}
	}
	m.RCode = dnsmessage.RCodeNameError
	for _, z := range []zone{aliased, plain, overIPv6, unasked} {
		if !strings.EqualFold(asked.Name.String(), z.name) {
			continue
		}
		m.RCode = dnsmessage.RCodeSuccess
		owner := asked.Name.String()
		if z.alias != "" {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: head(owner), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(z.alias)},
			})
			owner = z.alias
		}
		if asked.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: head(owner), Body: &dnsmessage.AResource{A: netip.MustParseAddr(z.v4).As4()},
			})
		}
	}
	return m.Pack()
}
