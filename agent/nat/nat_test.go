// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attribute encodes what attributes reads.
func attribute(kind uint16, content ...[]byte) []byte {
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(all)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), all...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func encodeTuple(kind uint16, src, dst string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	from, to := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if s.Addr().Is6() {
		from, to = ctaIPv6Src, ctaIPv6Dst
	}
	const nested = 1 << 15
	return attribute(kind|nested,
		attribute(ctaTupleIP|nested, attribute(from, s.Addr().AsSlice()), attribute(to, d.Addr().AsSlice())),
		attribute(ctaTupleProto|nested, attribute(ctaProtoNum, []byte{unix.IPPROTO_TCP}),
			attribute(ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, s.Port())),
			attribute(ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, d.Port()))))
}

// connection is one as the kernel tells it: what its client sent, and what is expected back.
func connection(client, called, server, as string) []byte {
	b := []byte{unix.AF_INET, 0, 0, 0}
	b = append(b, encodeTuple(ctaTupleOrig, client, called)...)
	b = append(b, attribute(3, []byte{0, 0, 0, 8})...) // CTA_STATUS
	return append(b, encodeTuple(ctaTupleReply, server, as)...)
}

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		message  []byte
		ok       bool
		from, to string
		asClient string
		atServer string
	}{
		"service address": {
			connection("10.244.1.2:40000", "10.96.0.10:80", "10.244.2.3:8080", "10.244.1.2:40000"), true,
			"10.244.1.2:40000", "10.96.0.10:80", "10.244.1.2:40000", "10.244.2.3:8080",
		},
		"masquerade": {
			connection("10.244.1.2:40000", "192.0.2.1:443", "192.0.2.1:443", "10.99.0.11:61000"), true,
			"10.244.1.2:40000", "192.0.2.1:443", "10.99.0.11:61000", "192.0.2.1:443",
		},
		"IPv6": {
			connection("[fd00::1]:40000", "[fd96::a]:80", "[fd00::2]:8080", "[fd00::1]:40000"), true,
			"[fd00::1]:40000", "[fd96::a]:80", "[fd00::1]:40000", "[fd00::2]:8080",
		},
		"untouched": {message: connection("10.0.0.1:1", "10.0.0.2:2", "10.0.0.2:2", "10.0.0.1:1")},
		"half":      {message: append([]byte{unix.AF_INET, 0, 0, 0}, encodeTuple(ctaTupleOrig, "10.0.0.1:1", "10.0.0.2:2")...)},
		"nothing":   {message: []byte{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			c, to, ok := parse(tc.message)
			if ok != tc.ok {
				t.Fatalf("it is translated: %t, want %t", ok, tc.ok)
			}
			if !ok {
				return
			}
			if c.Protocol != unix.IPPROTO_TCP || c.Client.String() != tc.from || c.Server.String() != tc.to {
				t.Errorf("the connection is %+v", c)
			}
			if to.Client.String() != tc.asClient || to.Server.String() != tc.atServer {
				t.Errorf("the translation is %+v", to)
			}
		})
	}
}

func TestTable(t *testing.T) {
	reads, fail := 0, error(nil)
	table := &Table{read: func(fn func([]byte)) error {
		reads++
		fn(connection("10.244.1.2:40000", "10.96.0.10:80", "10.244.2.3:8080", "10.244.1.2:40000"))
		return fail
	}}
	now := time.Unix(1000, 0)
	for range 3 {
		if _, err := table.Refresh(now); err != nil {
			t.Fatal(err)
		}
	}
	if reads != 1 {
		t.Errorf("it was read %d times within a moment", reads)
	}
	c := Connection{unix.IPPROTO_TCP, netip.MustParseAddrPort("10.244.1.2:40000"), netip.MustParseAddrPort("10.96.0.10:80")}
	if to, ok := table.Of(c); !ok || to.Server.String() != "10.244.2.3:8080" {
		t.Errorf("the translation is %v, %t", to, ok)
	}
	c.Protocol = unix.IPPROTO_UDP
	if _, ok := table.Of(c); ok {
		t.Error("a datagram has the translation of a connection")
	}
	fail = errors.New("no")
	if done, err := table.Refresh(now.Add(time.Minute)); !done || !errors.Is(err, fail) || reads != 2 {
		t.Errorf("a failure is %v after %d readings", err, reads)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(connection("10.244.1.2:40000", "10.96.0.10:80", "10.244.2.3:8080", "10.244.1.2:40000"))
	f.Fuzz(func(t *testing.T, message []byte) {
		c, to, ok := parse(message)
		if ok && (!c.Client.IsValid() || !c.Server.IsValid() || !to.Client.IsValid() || !to.Server.IsValid()) {
			t.Errorf("half a connection: %+v, %+v", c, to)
		}
	})
}
