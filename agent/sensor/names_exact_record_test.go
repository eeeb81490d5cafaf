// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/bpf"
)

// exactRecord is a record as the kernel side sends it.
func exactRecord(t testing.TB, r bpf.NamesNameRecord, path, target string) []byte {
	t.Helper()
	r.PathBytes, r.TargetBytes = uint32(len(path)), uint32(len(target))
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, r); err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, textHead))
	b.WriteString(path + target)
	return b.Bytes()
}

func TestDecodeExactName(t *testing.T) {
	r := bpf.NamesNameRecord{
		Who: bpf.NamesWho{StartBoottime: 5, Tgid: 7, ExecCount: 3}, Time: 11, CgroupId: 13, Inode: 17, Dir: 19, TargetDir: 23, Dev: 29,
		Generation: 31, Links: 2, MntNs: 37, Mode: unix.S_IFREG | 0o600, Op: uint8(NameRenamed), Flags: exactTargetCut | exactExchanged,
		FsType: [16]int8{'e', 'x', 't', '4'},
	}
	got, err := decodeExactName(exactRecord(t, r, "file\x00dir\x00", "other\x00"))
	if err != nil {
		t.Fatal(err)
	}
	want := exactName{
		NameChange: NameChange{
			Op: NameRenamed, Regular: true, Tgid: 7, Who: Who{5, 7, 3}, CgroupID: 13, MntNS: 37, After: 11, Before: 11,
			Inode: Inode{Number: 17, Dev: 29, Generation: 31}, FSType: "ext4", Path: "/dir/file", Target: "/other", TargetCut: true,
		},
		dir: 19, targetDir: 23, links: 2, exchanged: true,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(exactName{})); diff != "" {
		t.Error(diff)
	}
	r.PathBytes = 1 << 31
	for name, b := range map[string][]byte{
		"cut":                       exactRecord(t, r, "file\x00", "")[:40],
		"paths that are not there":  append(exactRecord(t, bpf.NamesNameRecord{Op: 1}, "file\x00", "")[:112], 'f'),
		"an operation that is none": exactRecord(t, bpf.NamesNameRecord{Op: 9}, "file\x00", ""),
	} {
		if _, err := decodeExactName(b); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// TestOverlaysOwnChanges: what an overlay puts together appears once it is renamed into its upper directory.
func TestOverlaysOwnChanges(t *testing.T) {
	const work, upper = 100, 200
	n := &ExactNames{works: map[dirKey]bool{{1, work}: true}}
	file := NameChange{Inode: Inode{Number: 5, Dev: 1}, Path: "/work/work/#1", Target: "/upper/f", Op: NameRenamed}
	removed := file
	removed.Op, removed.Path, removed.Target = NameRemoved, "/upper/f", ""
	for name, test := range map[string]struct {
		in   exactName
		want *NameChange
	}{
		"made":       {exactName{NameChange: file, dir: work, targetDir: upper}, &NameChange{Op: NameCreated, Path: "/upper/f", Inode: file.Inode}},
		"whiteout":   {exactName{NameChange: file, dir: work, targetDir: upper, whiteout: true}, &NameChange{Op: NameRemoved, Path: "/upper/f", Inode: Inode{Dev: 1}}},
		"exchanged":  {exactName{NameChange: file, dir: work, targetDir: upper, whiteout: true, exchanged: true}, nil},
		"taken away": {exactName{NameChange: NameChange{Op: NameRenamed, Path: "/upper/f", Target: "/work/work/#1", Inode: file.Inode}, dir: upper, targetDir: work, links: 1}, &NameChange{Op: NameRemoved, Path: "/upper/f", Inode: file.Inode, Last: true}},
		"prepared":   {exactName{NameChange: NameChange{Op: NameCreated, Path: "/work/work/#1", Inode: file.Inode}, dir: work}, nil},
		"elsewhere":  {exactName{NameChange: removed, dir: upper}, &removed},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := n.change(&test.in)
			if ok != (test.want != nil) {
				t.Fatalf("told: %v, %+v", ok, got)
			}
			if ok {
				if diff := cmp.Diff(*test.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func FuzzDecodeExactName(f *testing.F) {
	f.Add(exactRecord(f, bpf.NamesNameRecord{Op: 3}, "file\x00dir\x00", "other\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeExactName(b)
		if err == nil && len(r.Path)+len(r.Target) > len(b)+2 {
			t.Errorf("%d bytes gave paths of %d and %d", len(b), len(r.Path), len(r.Target))
		}
	})
}
