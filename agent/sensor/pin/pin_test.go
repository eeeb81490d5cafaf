// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func TestHolderIsFoundAmongAllLocks(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 700 00:1a:3 0 EOF
2: FLOCK  ADVISORY  WRITE 701 00:1a:31 0 EOF
2: -> FLOCK  ADVISORY  WRITE 709 00:1a:3 0 EOF
3: FLOCK  ADVISORY  WRITE 708 00:1a:3 0 EOF
`
	if pid := findHolder(locks, "00:1a:3"); pid != 708 {
		t.Errorf("holder is %d, want 708", pid)
	}
	if pid := findHolder("1: FLOCK  ADVISORY  WRITE -1 00:1a:3 0 EOF\n", "00:1a:3"); pid != 0 {
		t.Errorf("holder outside this pid namespace is %d, want 0", pid)
	}
}

func TestFolderOutsideABPFFileSystemIsRefused(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "spoor"), 0)
	if err == nil || !strings.Contains(err.Error(), "not in a BPF file system") {
		t.Errorf("Open: %v", err)
	}
}

func TestLinkInPlaceOfTheFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "spoor")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, 0); err == nil {
		t.Error("Open followed a symbolic link")
	}
}

// TestLayoutTellsShapesApart changes one thing of a map at a time.
func TestLayoutTellsShapesApart(t *testing.T) {
	number := &btf.Int{Name: "u64", Size: 8}
	value := func(names ...string) *btf.Struct {
		s := &btf.Struct{Name: "fact", Size: uint32(8 * len(names))}
		for i, n := range names {
			s.Members = append(s.Members, btf.Member{Name: n, Type: number, Offset: btf.Bits(64 * i)})
		}
		return s
	}
	base := func() *ebpf.MapSpec {
		return &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 16, MaxEntries: 10, Key: number, Value: value("first", "last")}
	}
	want := layoutOf("facts", base(), nil)
	if got := layoutOf("facts", base(), nil); got != want {
		t.Errorf("the same map is %v and %v", got, want)
	}
	bigger := base()
	bigger.MaxEntries = 20
	if got := layoutOf("facts", bigger, nil); got == want || got.types != want.types {
		t.Errorf("a bigger map is %v, the smaller %v: the types are the same", got, want)
	}
	for name, change := range map[string]func(*ebpf.MapSpec){
		"kind":         func(m *ebpf.MapSpec) { m.Type = ebpf.Array },
		"flags":        func(m *ebpf.MapSpec) { m.Flags = 1 },
		"member":       func(m *ebpf.MapSpec) { m.Value = value("first", "other") },
		"order":        func(m *ebpf.MapSpec) { m.Value = value("last", "first") },
		"key":          func(m *ebpf.MapSpec) { m.Key = &btf.Int{Name: "s64", Size: 8, Encoding: btf.Signed} },
		"inner map":    func(m *ebpf.MapSpec) { m.InnerMap = base() },
		"section":      func(m *ebpf.MapSpec) { m.Value = &btf.Datasec{Name: ".bss", Size: 16} },
		"no type info": func(m *ebpf.MapSpec) { m.Value = nil },
	} {
		m := base()
		change(m)
		if got := layoutOf("facts", m, nil); got.types == want.types {
			t.Errorf("another %s has the same layout", name)
		}
	}
	if got := layoutOf("facts", base(), []btf.Type{value("a")}); got.types == want.types {
		t.Error("other records have the same layout")
	}
}

func FuzzParseLayout(f *testing.F) {
	for _, name := range []string{"map-_bss-ccfacb348e61-1", "link-3-file_dirty", "map--0-", "map-a-b-4294967296"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		l, ok := parseLayout(name)
		if !ok {
			return
		}
		again, ok := parseLayout(l.file())
		l.name = strings.ReplaceAll(l.name, ".", "_")
		if !ok || again != l {
			t.Errorf("%q is %+v, and that is %+v (%v)", name, l, again, ok)
		}
	})
}
