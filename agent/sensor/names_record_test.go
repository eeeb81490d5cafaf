// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// info encodes one info record with a file handle, as copy_fid_info_to_user in the kernel does: padded to 4 bytes.
func info(kind byte, h fileHandle, name string) []byte {
	order := binary.NativeEndian
	b := []byte{kind, 0, 0, 0}
	b = order.AppendUint64(b, h.fsid)
	b = order.AppendUint32(b, uint32(h.size))
	b = order.AppendUint32(b, uint32(h.kind))
	b = append(b, h.bytes[:h.size]...)
	if kind != unix.FAN_EVENT_INFO_TYPE_FID {
		b = append(append(b, name...), 0)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	order.PutUint16(b[2:], uint16(len(b)))
	return b
}

func event(mask uint64, tgid uint32, infos ...[]byte) []byte {
	order := binary.NativeEndian
	body := slices.Concat(infos...)
	b := order.AppendUint32(nil, uint32(metadataSize+len(body)))
	b = append(b, unix.FANOTIFY_METADATA_VERSION, 0)
	b = order.AppendUint16(b, metadataSize)
	b = order.AppendUint64(b, mask)
	b = order.AppendUint32(b, ^uint32(0)) // FAN_NOFD
	b = order.AppendUint32(b, tgid)
	return append(b, body...)
}

// file makes a handle as ext4 does.
func file(number, generation uint32) fileHandle {
	b := binary.NativeEndian.AppendUint32(nil, number)
	return newFileHandle(7, 1, binary.NativeEndian.AppendUint32(b, generation))
}

func decodeAll(t testing.TB, b []byte) []nameRecord {
	t.Helper()
	var all []nameRecord
	if err := decodeNames(b, func(r *nameRecord) { all = append(all, *r) }); err != nil {
		t.Fatal(err)
	}
	return all
}

var unexported = cmp.AllowUnexported(nameRecord{}, fileHandle{})

func TestDecodeNames(t *testing.T) {
	dir, other, child := file(2, 20), file(3, 30), file(4, 40)
	const odd = "\xff \n'"
	b := slices.Concat(
		event(unix.FAN_CREATE, 100, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, dir, odd), info(unix.FAN_EVENT_INFO_TYPE_FID, child, "")),
		event(unix.FAN_RENAME|unix.FAN_ONDIR, 101, info(unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, dir, "a"),
			info(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, other, strings.Repeat("b", 255)), info(unix.FAN_EVENT_INFO_TYPE_FID, child, "")),
		event(unix.FAN_ATTRIB, 102, info(unix.FAN_EVENT_INFO_TYPE_FID, child, "")),
		event(unix.FAN_Q_OVERFLOW, 0),
		event(unix.FAN_DELETE, 103, info(200, dir, "of a later kernel"), info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, dir, "x")),
	)
	want := []nameRecord{
		{mask: unix.FAN_CREATE, tgid: 100, dir: dir, name: odd, child: child},
		{mask: unix.FAN_RENAME | unix.FAN_ONDIR, tgid: 101, dir: dir, name: "a", newDir: other, newName: strings.Repeat("b", 255), child: child},
		{mask: unix.FAN_ATTRIB, tgid: 102, child: child},
		{mask: unix.FAN_Q_OVERFLOW},
		{mask: unix.FAN_DELETE, tgid: 103, dir: dir, name: "x"},
	}
	if diff := cmp.Diff(want, decodeAll(t, b), unexported); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestDecodeNamesRefusesWhatDoesNotFit(t *testing.T) {
	whole := event(unix.FAN_CREATE, 1, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, file(1, 2), "name"))
	for name, change := range map[string]func([]byte) []byte{
		"nothing but a length": func(b []byte) []byte { return b[:4] },
		"longer than read":     func(b []byte) []byte { b[0]++; return b },
		"shorter than a head":  func(b []byte) []byte { b[0] = 10; return b },
		"head beyond the end":  func(b []byte) []byte { b[6] = 255; return b },
		"other version":        func(b []byte) []byte { b[4] = 4; return b },
		"info beyond the end":  func(b []byte) []byte { b[metadataSize+2] = 255; return b },
		"info without length":  func(b []byte) []byte { b[metadataSize+2] = 0; return b },
		"info without handle":  func(b []byte) []byte { b[metadataSize+2] = 8; return b },
		"handle beyond the end": func(b []byte) []byte {
			binary.NativeEndian.PutUint32(b[metadataSize+infoFidSize:], 1<<31)
			return b
		},
	} {
		err := decodeNames(change(slices.Clone(whole)), func(*nameRecord) {})
		if err == nil || !strings.HasPrefix(err.Error(), "fanotify ") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func FuzzDecodeNames(f *testing.F) {
	f.Add(event(unix.FAN_CREATE, 1, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, file(1, 2), "name"), info(unix.FAN_EVENT_INFO_TYPE_FID, file(3, 4), "")))
	f.Add(event(unix.FAN_RENAME, 1, info(unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, file(1, 2), "a"), info(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, file(1, 2), "b")))
	f.Add(slices.Concat(event(unix.FAN_MOVED_FROM, 1, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, file(1, 2), "a")),
		event(unix.FAN_MOVED_TO|unix.FAN_MOVED_FROM, 1, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, file(1, 2), "b")), event(unix.FAN_Q_OVERFLOW, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []nameRecord
		_ = decodeNames(b, func(r *nameRecord) {
			for _, fs := range []string{"ext4", "tmpfs", "xfs", "btrfs"} {
				r.child.inode(fs, 1)
			}
			all = append(all, *r)
		})
		count := func(records []nameRecord) (moves int) {
			for _, r := range records {
				for _, bit := range []uint64{unix.FAN_MOVED_FROM, unix.FAN_MOVED_TO} {
					if r.mask&bit != 0 {
						moves++
					}
				}
			}
			return moves
		}
		halves := count(all)
		paired := pairMoves(all)
		left := count(paired)
		pairs := len(paired) - len(all)
		if pairs*2+left != halves {
			t.Errorf("%d halves of renames became %d renames and %d halves", halves, pairs, left)
		}
	})
}

func TestHandleTellsInode(t *testing.T) {
	order := binary.NativeEndian
	words := func(w ...uint32) (b []byte) {
		for _, v := range w {
			b = order.AppendUint32(b, v)
		}
		return b
	}
	const big = uint64(5)<<32 | 17
	btrfs := order.AppendUint32(order.AppendUint64(order.AppendUint64(nil, big), 5), 9)
	for _, tc := range []struct {
		fs   string
		kind int32
		b    []byte
		want Inode
	}{
		{"ext4", 1, words(17, 9), Inode{Number: 17, Dev: 3, Generation: 9}},
		{"f2fs", 1, words(17, 9), Inode{Number: 17, Dev: 3, Generation: 9}},
		{"tmpfs", 1, words(9, 17, 5), Inode{Number: big, Dev: 3, Generation: 9}},
		{"xfs", 1, words(17, 9), Inode{Number: 17, Dev: 3, Generation: 9}},
		{"xfs", 0x81, append(order.AppendUint64(nil, big), words(9)...), Inode{Number: big, Dev: 3, Generation: 9}},
		{"btrfs", 0x4d, btrfs, Inode{Number: big, Dev: 3, Generation: 9}},
		{"ext4", 0xff, words(17, 9), Inode{Dev: 3}},
		{"tmpfs", 1, words(17, 9), Inode{Dev: 3}},
		{"ext4", 1, make([]byte, maxHandle+1), Inode{Dev: 3}},
	} {
		h := newFileHandle(1, tc.kind, tc.b)
		if got := h.inode(tc.fs, 3); got != tc.want {
			t.Errorf("handle of kind %#x on %s: %+v, want %+v", tc.kind, tc.fs, got, tc.want)
		}
	}
}

func TestPairMoves(t *testing.T) {
	dir := file(1, 1)
	half := func(mask uint64, tgid uint32, name string) nameRecord {
		return nameRecord{mask: mask, tgid: tgid, dir: dir, name: name}
	}
	const from, to = unix.FAN_MOVED_FROM, unix.FAN_MOVED_TO
	for name, tc := range map[string]struct {
		in   []nameRecord
		want []string
	}{
		"one":              {[]nameRecord{half(from, 1, "a"), half(to, 1, "b")}, []string{"a -> b"}},
		"two processes":    {[]nameRecord{half(from, 1, "a"), half(from, 2, "c"), half(to, 2, "d"), half(to, 1, "b")}, []string{"c -> d", "a -> b"}},
		"there and back":   {[]nameRecord{half(from|to, 1, "a"), half(from|to, 1, "b")}, []string{"a -> b", "b -> a"}},
		"and then removed": {[]nameRecord{half(from, 1, "a"), half(to|unix.FAN_DELETE, 1, "b")}, []string{"a -> b", "removed b"}},
		"made before":      {[]nameRecord{half(unix.FAN_CREATE|from, 1, "a"), half(to, 1, "b")}, []string{"made a", "a -> b"}},
		"chain":            {[]nameRecord{half(from, 1, "a"), half(from|to, 1, "b"), half(to, 1, "c")}, []string{"a -> b", "b -> c"}},
		"away":             {[]nameRecord{half(from, 1, "a")}, []string{"away a"}},
		"file and directory": {
			[]nameRecord{half(from, 1, "a"), half(to|unix.FAN_ONDIR, 1, "d")},
			[]string{"away a", "arrived d"},
		},
	} {
		var got []string
		for _, r := range pairMoves(tc.in) {
			for bit, s := range map[uint64]string{
				unix.FAN_RENAME: r.name + " -> " + r.newName, unix.FAN_DELETE: "removed " + r.name, unix.FAN_CREATE: "made " + r.name,
				from: "away " + r.name, to: "arrived " + r.name,
			} {
				if r.mask&bit != 0 {
					got = append(got, s)
				}
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestView(t *testing.T) {
	for _, tc := range []struct{ root, point, seen, within, inner string }{
		{"/", "/", "/a/b", "/a/b", "a/b"},
		{"/", "/", "/", "/", "."},
		{"/", "/mnt", "/mnt/a", "/a", "a"},
		{"/", "/mnt", "/mnt", "/", "."},
		{"/srv", "/mnt", "/mnt/a", "/srv/a", "a"},
		{"/srv", "/mnt", "/mnt", "/srv", "."},
		{"/srv", "/", "/a", "/srv/a", "a"},
		{"/srv", "/", "/", "/srv", "."},
	} {
		v := view{Mount: Mount{Root: tc.root, Point: tc.point}}
		if got := v.within(tc.seen); got != tc.within {
			t.Errorf("%s at %s: %s is %s within, want %s", tc.root, tc.point, tc.seen, got, tc.within)
		}
		if got, ok := v.inner(tc.within); !ok || got != tc.inner {
			t.Errorf("%s at %s: %s is reached as %q, %v, want %q", tc.root, tc.point, tc.within, got, ok, tc.inner)
		}
	}
	narrow := view{Mount: Mount{Root: "/srv", Point: "/mnt"}}
	if got := narrow.within("/other/a"); got != "/other/a" {
		t.Errorf("what no mount shows is %s", got)
	}
	if _, ok := narrow.inner("/srv2/a"); ok {
		t.Error("what is not mounted can be reached")
	}
}

func TestParseMarks(t *testing.T) {
	got := parseMarks("pos:\t0\nflags:\t02000002\nmnt_id:\t15\nfanotify flags:12 event-flags:0\n" +
		"fanotify sdev:fe00000 mflags:0 mask:50000344 ignored_mask:0\nfanotify sdev:1b mflags:0 mask:1 ignored_mask:0\nfanotify sdev:zz\n")
	want := map[uint32]bool{0xfe00000: true, 0x1b: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}
