// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/spoor/spoor/bpf"
)

// reply makes a message that answers a question about www.spoor.test with records.
func reply(t testing.TB, records ...dnsmessage.Resource) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName("WwW.Spoor.Test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}},
		Answers: records,
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func resource(owner string, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(owner), Class: dnsmessage.ClassINET, TTL: ttl}, Body: body,
	}
}

func alias(to string) dnsmessage.ResourceBody {
	return &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)}
}

func address(last byte) dnsmessage.ResourceBody {
	return &dnsmessage.AResource{A: [4]byte{192, 0, 2, last}}
}

func TestParseMessage(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for name, test := range map[string]struct {
		records []dnsmessage.Resource
		want    Message
	}{
		"nothing": {want: Message{}},
		"addresses": {
			records: []dnsmessage.Resource{resource("www.spoor.test.", 60, address(1)), resource("www.SPOOR.test.", 30, address(2))},
			want:    Message{Addresses: []netip.Addr{one, two}, TTL: 30},
		},
		"aliases, out of order": {
			records: []dnsmessage.Resource{
				resource("b.test.", 60, address(1)), resource("a.test.", 20, alias("B.test.")), resource("www.spoor.test.", 40, alias("a.test.")),
			},
			want: Message{Addresses: []netip.Addr{one}, Aliases: []string{"a.test", "b.test"}, TTL: 20},
		},
		"of another name": {
			records: []dnsmessage.Resource{resource("bank.test.", 60, address(1)), resource("www.spoor.test.", 60, address(2))},
			want:    Message{Addresses: []netip.Addr{two}, TTL: 60},
		},
		"aliases in a circle": {
			records: []dnsmessage.Resource{
				resource("www.spoor.test.", 9, alias("a.test.")), resource("a.test.", 9, alias("www.spoor.test.")), resource("a.test.", 5, address(1)),
			},
			want: Message{Addresses: []netip.Addr{one}, Aliases: []string{"a.test"}, TTL: 5},
		},
		"IPv6, and what is no address": {
			records: []dnsmessage.Resource{
				resource("www.spoor.test.", 9, &dnsmessage.TXTResource{TXT: []string{"x"}}),
				resource("www.spoor.test.", 8, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()}),
				resource("www.spoor.test.", 7, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("::ffff:192.0.2.1").As16()}),
			},
			want: Message{Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1"), one}, TTL: 7},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Name, test.want.Type = "www.spoor.test", "A"
			got, err := parseMessage(reply(t, test.records...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("parseMessage (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseMessageTakesWhatThereIs(t *testing.T) {
	whole := reply(t, resource("www.spoor.test.", 60, address(1)), resource("www.spoor.test.", 60, address(2)))
	got, err := parseMessage(whole[:len(whole)-1])
	if err != nil || len(got.Addresses) != 1 {
		t.Errorf("a message that is cut in its second record = %+v, %v, want one address", got, err)
	}
}

func TestParseMessageIsBounded(t *testing.T) {
	var records []dnsmessage.Resource
	for i := range 200 {
		records = append(records, resource(fmt.Sprintf("n%d.test.", i), 1, alias(fmt.Sprintf("n%d.test.", i+1))))
	}
	records[0].Header.Name = dnsmessage.MustNewName("www.spoor.test.")
	m, err := parseMessage(reply(t, records...))
	if err != nil || len(m.Aliases) != maxAliases {
		t.Errorf("%d aliases of 200 are followed, %v, want %d", len(m.Aliases), err, maxAliases)
	}
	records = nil
	for i := range 200 {
		records = append(records, resource("www.spoor.test.", 1, address(byte(i))))
	}
	if m, err = parseMessage(reply(t, records...)); err != nil || len(m.Addresses) != maxAnswerAddresses {
		t.Errorf("%d addresses of 200 are taken, %v, want %d", len(m.Addresses), err, maxAnswerAddresses)
	}
}

func TestParseMessageRefusesWhatIsNoAnswer(t *testing.T) {
	question := reply(t)
	question[2] &^= 0x80
	for name, b := range map[string][]byte{"empty": {}, "header only": reply(t)[:12], "question": question} {
		if m, err := parseMessage(b); err == nil {
			t.Errorf("%s: parsed to %+v, want an error", name, m)
		}
	}
}

// encodeAnswer makes the bytes that the kernel side would send.
func encodeAnswer(t testing.TB, head bpf.DnsAnswerRecord, message string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, head); err != nil {
		t.Fatal(err)
	}
	b.WriteString(message)
	return b.Bytes()
}

func TestDecodeAnswer(t *testing.T) {
	head := bpf.DnsAnswerRecord{
		Time: 7, Who: bpf.DnsWho{StartBoottime: 5, Tgid: 42, ExecCount: 3}, CgroupId: 9, NetNs: 11, Bytes: 5,
		Server: netip.MustParseAddr("192.0.2.53").As16(),
	}
	got, message, err := decodeAnswer(encodeAnswer(t, head, "hello!"))
	if err != nil {
		t.Fatal(err)
	}
	want := Answer{Who: Who{5, 42, 3}, CgroupID: 9, NetNS: 11, Time: 7, Server: netip.MustParseAddr("192.0.2.53")}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || string(message) != "hello" {
		t.Errorf("decodeAnswer = %q (-want +got):\n%s", message, d)
	}
	head.Bytes = 7
	if _, _, err := decodeAnswer(encodeAnswer(t, head, "hello!")); err == nil {
		t.Error("a message longer than its record was decoded")
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(reply(f, resource("www.spoor.test.", 60, alias("a.test.")), resource("a.test.", 60, address(1))))
	f.Add(reply(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		for _, name := range append(slices.Clone(m.Aliases), m.Name, m.Type) {
			if !utf8.ValidString(name) || name != m.Type && strings.ContainsAny(name, "ABCXYZ") {
				t.Errorf("parsed the name %q", name)
			}
		}
		if len(m.Addresses) > maxAnswerAddresses || len(m.Aliases) > maxAliases {
			t.Errorf("parsed %d addresses and %d aliases", len(m.Addresses), len(m.Aliases))
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	f.Add(encodeAnswer(f, bpf.DnsAnswerRecord{Bytes: 2}, "xy"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, message, err := decodeAnswer(b); err == nil && (!a.Server.IsValid() || len(message) > len(b)) {
			t.Errorf("decoded %+v and %d bytes", a, len(message))
		}
	})
}
