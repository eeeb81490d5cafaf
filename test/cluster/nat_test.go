// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/nat"
)

// What the kernel translates is known for both families: where a service address leads, and as whom a call leaves.
func TestTranslations(t *testing.T) {
	// The thread stays in the namespace, and ends with the test.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	here := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	here("ip", "link", "set", "lo", "up")
	for _, tc := range []struct{ tables, server, service, masked string }{
		{"iptables", "10.99.7.1", "10.99.7.10", "10.99.7.2"},
		{"ip6tables", "fd99::1", "fd99::10", "fd99::2"},
	} {
		prefix := "32"
		if tc.tables == "ip6tables" {
			prefix = "128"
		}
		for _, address := range []string{tc.server, tc.masked, tc.service} {
			here("ip", "address", "add", address+"/"+prefix, "dev", "lo", "nodad")
		}
		listener, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(tc.server), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		server := netip.MustParseAddrPort(listener.Addr().String())
		here(tc.tables, "-w", "-t", "nat", "-A", "OUTPUT", "-d", tc.service, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", server.String())
		here(tc.tables, "-w", "-t", "nat", "-A", "POSTROUTING", "-d", tc.server, "-p", "tcp", "-j", "SNAT", "--to-source", tc.masked)
		service := netip.AddrPortFrom(netip.MustParseAddr(tc.service), 80)
		client, err := net.Dial("tcp", service.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = accepted.Close() }()

		table, err := nat.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Refresh(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		got, ok := table.Of(nat.Connection{Protocol: unix.IPPROTO_TCP, Client: netip.MustParseAddrPort(client.LocalAddr().String()), Server: service})
		want := nat.Translation{Client: netip.MustParseAddrPort(accepted.RemoteAddr().String()), Server: server}
		if !ok || got != want {
			t.Errorf("the call of %s is %v (%t), want %v", service, got, ok, want)
		}
		if want.Client.Addr().String() != tc.masked {
			t.Errorf("the server was called by %s, want %s: nothing is proved", want.Client, tc.masked)
		}
	}
}
