// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/bpf"
)

func TestJoinComponents(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "/",
		"a\x00":                "/a",
		"c\x00b\x00a\x00":      "/a/b/c",
		"new\nline\x00x y\x00": "/x y/new\nline",
		"\xff\xfe\x00d\x00":    "/d/\xff\xfe",
	} {
		if got := joinComponents([]byte(in)); got != want {
			t.Errorf("joinComponents(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	for in, want := range map[string][]string{
		"":                 nil,
		"ls\x00":           {"ls"},
		"a\x00\x00b\x00":   {"a", "", "b"},
		"cut in the middl": {"cut in the middl"},
	} {
		if got := splitArgs([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("splitArgs(%q) = %q, want %q", in, got, want)
		}
	}
}

// encode makes the bytes that the kernel side would send: the struct, the two words that begin a text, the text.
func encode(t testing.TB, record any, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, record); err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, textHead))
	b.WriteString(strings.Join(texts, ""))
	return b.Bytes()
}

func execRecord(exe, cwd, args string) bpf.ProcessProcessRecord {
	return bpf.ProcessProcessRecord{
		Time: 7, Type: uint16(Exec), Who: bpf.ProcessWho{StartBoottime: 5, Tgid: 42, ExecCount: 3},
		Parent: bpf.ProcessWho{StartBoottime: 1, Tgid: 1}, CgroupId: 9, Uid: 1000, Gid: 100, MntNs: 11,
		ExeBytes: uint16(len(exe)), CwdBytes: uint16(len(cwd)), ArgsBytes: uint32(len(args)),
		Comm: [16]int8{'l', 's'},
	}
}

func TestDecodeProcess(t *testing.T) {
	exe, cwd, args := "ls\x00bin\x00", "", "ls\x00-l\x00"
	got, err := decodeProcess(encode(t, execRecord(exe, cwd, args), exe, cwd, args))
	if err != nil {
		t.Fatal(err)
	}
	want := ProcessEvent{
		Cause: Exec, Time: 7, Who: Who{5, 42, 3}, Parent: Who{1, 1, 0}, CgroupID: 9, UID: 1000, GID: 100, MntNS: 11,
		Comm: "ls", Exe: "/bin/ls", Cwd: "/", Args: []string{"ls", "-l"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("decodeProcess (-want +got):\n%s", d)
	}
}

func TestDecodeProcessRefusesWhatDoesNotFit(t *testing.T) {
	short := encode(t, execRecord("ls\x00", "", ""))
	unknown := execRecord("", "", "")
	unknown.Type = 77
	for name, b := range map[string][]byte{
		"empty":         {},
		"cut":           short[:60],
		"texts missing": short,
		"unknown type":  encode(t, unknown),
		"cgroup path":   encode(t, bpf.ProcessCgroupRecord{Type: uint16(CgroupMade), PathBytes: 500}),
	} {
		if ev, err := decodeProcess(b); err == nil {
			t.Errorf("%s: decoded to %+v, want an error", name, ev)
		}
	}
}

func TestDecodeName(t *testing.T) {
	head := bpf.FileFileName{Inode: 12, Dev: 3, Generation: 4, Bytes: 6, Flags: fileCut}
	inode, name, err := decodeName(encode(t, head, "f\x00dir\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if inode != (Inode{12, 3, 4}) || name != (fileName{"/dir/f", true}) {
		t.Errorf("decodeName = %+v, %+v", inode, name)
	}
	head.Bytes = 7
	if _, _, err := decodeName(encode(t, head, "f\x00dir\x00")); err == nil {
		t.Error("a name longer than its record was decoded")
	}
}

func TestClientPorts(t *testing.T) {
	none := ^uint32(0)
	if got, want := clientPorts([]uint32{none, 0xabcd0000 | 40001, none, 7}), []uint16{40001, 7}; !slices.Equal(got, want) {
		t.Errorf("clientPorts = %v, want %v", got, want)
	}
}

func FuzzDecodeProcess(f *testing.F) {
	f.Add(encode(f, execRecord("ls\x00", "d\x00", "ls\x00"), "ls\x00", "d\x00", "ls\x00"))
	f.Add(encode(f, bpf.ProcessCgroupRecord{Type: uint16(CgroupMade), PathBytes: 2}, "/x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := decodeProcess(b)
		if err == nil && (ev.Cause < Fork || ev.Cause > CgroupMade) {
			t.Errorf("decoded an event of cause %d", ev.Cause)
		}
	})
}

func FuzzDecodeName(f *testing.F) {
	f.Add(encode(f, bpf.FileFileName{Bytes: 2}, "f\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, name, err := decodeName(b); err == nil && name.path != "" && name.path[0] != '/' {
			t.Errorf("decoded the path %q, which is not absolute", name.path)
		}
	})
}
