// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spoor/spoor/bpf"
)

func unixRecord(t testing.TB, r bpf.UnixUnixRecord) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeUnixSocket(t *testing.T) {
	got, name, path, err := decodeUnixSocket(unixRecord(t, bpf.UnixUnixRecord{
		Who: bpf.UnixWho{StartBoottime: 5, Tgid: 42, ExecCount: 3}, CgroupId: 9, MntNs: 11, NetNs: 13, Socket: 100, Peer: 200, Type: 1,
		Inode: 12, Dev: 3, Generation: 4, Flags: unixCut | unixListens, NameBytes: 6, PathBytes: 7,
		Family: 2, Protocol: 132, Port: 99, Local: [16]uint8{10: 255, 11: 255, 12: 10, 15: 1},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := UnixSocket{
		Who: Who{5, 42, 3}, CgroupID: 9, MntNS: 11, NetNS: 13, Socket: 100, Peer: 200, Type: 1, Inode: Inode{12, 3, 4}, PathCut: true, Listening: true,
		Family: 2, Protocol: 132, Port: 99, Local: netip.MustParseAddr("10.0.0.1"),
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" || name != 6 || path != 7 {
		t.Errorf("decodeUnixSocket: name of %d, path of %d bytes (-want +got):\n%s", name, path, d)
	}
	if s, _, _, err := decodeUnixSocket([]byte("short")); err == nil {
		t.Errorf("a record of five bytes was decoded to %+v", s)
	}
}

func TestBoundName(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"/run/a.sock\x00":      "/run/a.sock",
		"relative":             "relative",
		"/a\x00rest":           "/a",
		"\x00abstract":         "@abstract",
		"\x00with\x00\x00NULs": "@with\x00\x00NULs",
		"\x00":                 "@",
	} {
		if got := boundName([]byte(in)); got != want {
			t.Errorf("boundName(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDecodeUnixSocket(f *testing.F) {
	f.Add(unixRecord(f, bpf.UnixUnixRecord{NameBytes: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, name, path, err := decodeUnixSocket(b); err == nil && (name < 0 || path < 0 || s.Path != "") {
			t.Errorf("decoded %+v, name of %d, path of %d bytes", s, name, path)
		}
	})
}
