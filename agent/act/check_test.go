// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

// check looks whether an act happened: while its processes are held, and after they ended.
type check struct {
	held, after func(*testing.T, *Result)
}

func after(f func(*testing.T, *Result)) check { return check{after: f} }
func held(f func(*testing.T, *Result)) check  { return check{held: f} }

// checks says, for each act, how to find out that it happened.
func checks() map[string]check {
	overwritten := fileWritten(block, contentIs(run(newByte, small), run(oldByte, block-small)))
	appended := fileWritten(block+small, contentIs(run(oldByte, block), run(newByte, small)))
	created := after(all(content("file", run(newByte, small)), fact(FileWrite, roleActor), changed(opCreate, "file")))
	copied := after(all(content("to", run(oldByte, block)), fact(FileWrite, roleActor), forbidden(FileWrite, "from")))
	quiet := after(all(content("file", run(oldByte, block)), forbidden(FileWrite, "file"), noFacts(FileWrite, roleActor)))
	made := func(mode uint32) check { return after(all(typeIs("made", mode), changed(opCreate, "made"))) }
	renamed := after(all(gone("old"), content("new", run(oldByte, small)), changed(opRename, "old"), forbidden(FileWrite, "old", "new")))
	unlinked := after(all(gone("file"), changed(opUnlink, "file")))
	stores := fileWritten(block, contentIs(run(newByte, small), run(oldByte, block-small)))
	shared := held(all(mappedBy(2), sharesEachOther(spoorv1.Share_KIND_MEMORY)))
	joined := held(sharesEachOther(spoorv1.Share_KIND_SOCKET))
	refusedOnly := after(func(t *testing.T, r *Result) {
		f := only(t, r, Connection).Flow
		if f.Refused != 1 || f.Opened != 0 || f.Direction != outbound || f.Peer.Port() == 0 {
			t.Errorf("flow is %+v", f)
		}
	})
	talked := after(bothEnds(1))
	return map[string]check{
		"create":               created,
		"append":               appended,
		"overwrite":            overwritten,
		"overwrite-dirty":      overwritten,
		"overwrite-truncating": fileWritten(small, contentIs(run(newByte, small))),
		"pwritev2":             fileWritten(block, contentIs(run(oldByte, small), run(newByte, small), run(oldByte, block-2*small))),
		"direct":               fileWritten(2*block, contentIs(run(oldByte, block), run(newByte, block))),
		"aio":                  overwritten,
		"aio-direct":           fileWritten(2*block, contentIs(run(newByte, block), run(oldByte, block))),

		"sendfile":        copied,
		"copy-file-range": copied,
		"reflink":         copied,
		"splice":          fileWritten(block, contentIs(run(oldByte, small), run(newByte, small), run(oldByte, block-2*small))),

		"mmap-store":        stores,
		"mmap-msync-store":  fileWritten(block, contentIs(run(newByte, 2*small), run(oldByte, block-2*small))),
		"mmap-store-closed": stores,

		"truncate":         fileWritten(small, contentIs(run(oldByte, small))),
		"ftruncate-extend": fileWritten(2*block, contentIs(run(oldByte, small), run(0, 2*block-small))),
		"fallocate":        fileWritten(4*block, contentIs(run(oldByte, block), run(0, 3*block))),
		"punch-hole":       fileWritten(4*block, contentIs(run(oldByte, block), run(0, 2*block), run(oldByte, block))),

		"io-uring-write":        overwritten,
		"io-uring-write-worker": overwritten,
		"io-uring-write-sqpoll": overwritten,
		"io-uring-openat":       created,
		"io-uring-renameat":     renamed,
		"io-uring-unlinkat":     unlinked,

		"rename": renamed,
		"rename-over": after(all(gone("file.tmp"), content("file", run(newByte, small)), fact(FileWrite, roleActor),
			changed(opCreate, "file.tmp"), changed(opRename, "file.tmp"))),
		"rename-exchange": after(all(content("file0", run(oldByte, block)), content("file1", run(oldByte, small)),
			changed(opRename, "file0"), changed(opRename, "file1"))),
		"rename-directory": after(all(gone("old"), content("new/file", run(oldByte, small)), changed(opRename, "old"))),
		"tmpfile-linkat":   after(all(content("file", run(newByte, small)), fact(FileWrite, roleActor), changed(opLink, ""))),
		"link":             after(all(links("file", 2), links("second", 2), changed(opLink, "file"))),
		"symlink":          made(unix.S_IFLNK),
		"unlink":           unlinked,
		"mkdir":            made(unix.S_IFDIR),
		"rmdir":            after(all(gone("made"), changed(opCreate, "made"), changed(opUnlink, "made"))),
		"mkfifo":           made(unix.S_IFIFO),
		"mknod":            made(unix.S_IFCHR),

		"chmod": attributes(func(t *testing.T, st *unix.Stat_t, _ string) {
			if st.Mode&0o7777 != newMode {
				t.Errorf("mode is %#o", st.Mode)
			}
		}),
		"chown": attributes(func(t *testing.T, st *unix.Stat_t, _ string) {
			if st.Uid != newOwner || st.Gid != newOwner {
				t.Errorf("owner is %d:%d", st.Uid, st.Gid)
			}
		}),
		"setxattr": attributes(func(t *testing.T, _ *unix.Stat_t, path string) {
			b := make([]byte, 64)
			n, err := unix.Getxattr(path, "user.spoor", b)
			if err != nil {
				n, err = unix.Getxattr(path, "trusted.spoor", b)
			}
			if err != nil || string(b[:n]) != xattrText {
				t.Errorf("attribute is %q: %v", b[:max(n, 0)], err)
			}
		}),
		"utimes": attributes(func(t *testing.T, st *unix.Stat_t, _ string) {
			if st.Mtim.Sec != newTime {
				t.Errorf("modified at %v", st.Mtim)
			}
		}),

		"writer-thread": appended,
		"writer-forked": after(all(content("file", run(oldByte, block), run(newByte, small)),
			fact(FileWrite, "child"), forbidden(FileWrite, "file"), noFacts(FileWrite, roleActor))),
		"writer-passed": after(all(content("file", run(oldByte, block), run(newByte, small)),
			fact(FileWrite, "receiver"), forbidden(FileWrite, "file"), noFacts(FileWrite, roleActor))),

		"name-newline": named(func(name string) bool { return strings.Contains(name, "\n") }),
		"name-bytes":   named(func(name string) bool { return strings.Contains(name, "\xff") }),
		"name-long":    named(func(path string) bool { return len(path) == pathMax }),
		"name-renamed": after(all(gone("old"), content("new", run(oldByte, block), run(newByte, small)),
			changed(opRename, "old"), fact(FileWrite, roleActor))),
		"name-deleted": {
			held: func(t *testing.T, r *Result) {
				// The only way to a deleted file leads through the process that has it open.
				links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", r.Tgid))
				if err != nil {
					t.Fatal(err)
				}
				for _, link := range links {
					if to, err := os.Readlink(link); err == nil && to == filepath.Join(r.Dir, "file")+" (deleted)" {
						checkContent(t, link, run(oldByte, block), run(newByte, small))
						return
					}
				}
				t.Errorf("process %d has no deleted file open", r.Tgid)
			},
			after: all(gone("file"), changed(opUnlink, "file"), fact(FileWrite, roleActor)),
		},

		"cp":    after(all(content("to", run(oldByte, block)), fact(FileWrite, "cp"), changed(opCreate, "to"), forbidden(FileWrite, "from"))),
		"rsync": after(all(content("to", run(oldByte, block)), fact(FileWrite, "rsync"), forbidden(FileWrite, "from"))),
		"sed":   after(all(contentIs(run(newByte, small)), fact(FileWrite, "sed"))),
		"sqlite-commit": after(all(gone("database-journal"), fact(FileWrite, roleActor), changed(opCreate, "database"),
			func(t *testing.T, r *Result) {
				b, err := os.ReadFile(filepath.Join(r.Dir, "database"))
				if err != nil || !bytes.HasPrefix(b, []byte("SQLite format 3")) || !bytes.Contains(b, []byte("committed")) {
					t.Errorf("the database has %d bytes: %v", len(b), err)
				}
			})),
		"log-rotation": after(all(content("log.1", run(newByte, small)), content("log", run(newByte, small)), fact(FileWrite, roleActor),
			changed(opCreate, "log"), changed(opRename, "log"))),

		"quiet-read":  quiet,
		"quiet-map":   quiet,
		"quiet-open":  quiet,
		"quiet-stat":  quiet,
		"quiet-fsync": quiet,

		"sysv-shm":         shared,
		"posix-shm":        shared,
		"memfd-passed":     shared,
		"shared-anonymous": shared,

		"tcp4":          talked,
		"tcp6":          talked,
		"tcp4-mapped":   after(all(bothEnds(1), peersAre(netip.AddrFrom4([4]byte{127, 0, 0, 1})))),
		"tcp4-mptcp":    talked,
		"tcp4-live":     held(all(bothEnds(0), established)),
		"tcp4-fastopen": talked,
		"tcp4-shared-port": after(all(bothEnds(1), func(t *testing.T, r *Result) {
			server, other := find(t, r, Listening, "server"), find(t, r, Listening, "neighbour")
			if server.Listen.Local.Port() != other.Listen.Local.Port() || server.Listen.Local == other.Listen.Local {
				t.Errorf("the two listen at %v and %v", server.Listen.Local, other.Listen.Local)
			}
		})),
		"tcp4-preforked": after(all(bothEnds(1), func(t *testing.T, r *Result) {
			if listener := only(t, r, Listening); listener.Tgid == find(t, r, Connection, "worker").Tgid {
				t.Error("the worker is the process that listens")
			}
		})),
		"tcp4-refused": refusedOnly,
		"tcp6-refused": refusedOnly,
		"tcp4-timeout": after(func(t *testing.T, r *Result) {
			if f := only(t, r, Connection).Flow; f.TimedOut != 1 || f.Opened != 0 {
				t.Errorf("flow is %+v", f)
			}
		}),
		"tcp4-reset": after(flowsMirror),
		"tcp4-dnat": after(translated(
			netip.AddrFrom4([4]byte{198, 51, 100, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 10}), netip.AddrFrom4([4]byte{198, 51, 100, 1}))),
		"tcp4-snat": after(translated(
			netip.AddrFrom4([4]byte{198, 51, 100, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 2}))),
		"udp4-connected":   after(flowsMirror),
		"udp4-unconnected": after(flowsMirror),
		"udp6-connected":   after(flowsMirror),
		"udp6-unconnected": after(flowsMirror),
		"udp4-long":        after(flowsMirror),
		"unix-stream":      joined,
		"unix-seqpacket":   joined,
		"unix-abstract":    joined,
		"unix-datagram":    joined,

		"sctp4":     talked,
		"raw4-icmp": after(fact(Connection, roleActor)),

		"exec-args":   held(runs(func(args []string) bool { return len(args) == 6 && args[2] == "two words" && args[5] == "\xff\xfe" })),
		"exec-long":   held(runs(func(args []string) bool { return len(args) == 1002 && len(args[1]) == 100<<10 })),
		"exec-script": held(runs(func(args []string) bool { return len(args) == 4 && args[3] == "argument" })),
		"exec-thread": held(runs(func(args []string) bool { return len(args) == 2 && args[1] == "after" })),
		"exec-memfd":  after(all(exited(tinyExit, 0), executable("/memfd:spoor-act (deleted)"))),
		"exec-written": after(all(exited(tinyExit, 0), fact(FileWrite, roleActor), func(t *testing.T, r *Result) {
			executable(filepath.Join(r.Dir, "program"))(t, r)
		})),

		"fork":              after(all(exited(0, 0), fact(ProcessStart, "child"))),
		"exit-code":         after(exited(3, 0)),
		"exit-killed":       after(exited(0, int(unix.SIGKILL))),
		"exit-terminated":   after(exited(0, int(unix.SIGTERM))),
		"exit-leader-first": after(exited(7, 0)),

		"pid-reuse": after(func(t *testing.T, r *Result) {
			var ids []int
			for _, e := range r.Facts {
				if e.Kind == ProcessExit {
					ids = append(ids, e.Tgid)
				}
			}
			if len(ids) != 2 || ids[0] != ids[1] {
				t.Errorf("the processes that ended were %v", ids)
			}
		}),

		"setns-connect": after(all(bothEnds(1), func(t *testing.T, r *Result) {
			own, err := netns()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Facts {
				if e.Flow != nil && e.Flow.Netns == own {
					t.Errorf("%s talked in the network namespace of the test", e.Role)
				}
			}
		})),
		"unshare-write": after(all(content("file", run(newByte, small)), fact(FileWrite, roleActor))),
		"bind-write":    after(all(content("source/file", run(newByte, small)), gone("target/file"), fact(FileWrite, roleActor))),
	}
}

func all(list ...func(*testing.T, *Result)) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		for _, f := range list {
			f(t, r)
		}
	}
}

// run is n times the same byte.
func run(b byte, n int) []byte { return fill(b, n) }

func contentIs(parts ...[]byte) func(*testing.T, *Result) { return content("file", parts...) }

func content(name string, parts ...[]byte) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		checkContent(t, filepath.Join(r.Dir, name), parts...)
	}
}

func checkContent(t *testing.T, path string, parts ...[]byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	want := bytes.Join(parts, nil)
	if !bytes.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d bytes instead of %d, differing at %d", path, len(got), len(want), at)
	}
}

// fileWritten: the actor changed "file", which is size bytes long now.
func fileWritten(size int64, content func(*testing.T, *Result)) check {
	return after(all(content, fact(FileWrite, roleActor), func(t *testing.T, r *Result) {
		t.Helper()
		e := find(t, r, FileWrite, roleActor)
		if e.File.Size != size || e.File.Path != filepath.Join(r.Dir, "file") || e.Tgid != r.Tgid {
			t.Errorf("fact is %d bytes in %s by %d", e.File.Size, e.File.Path, e.Tgid)
		}
	}))
}

func find(t *testing.T, r *Result, kind Kind, role string) Expectation {
	t.Helper()
	for _, e := range r.Facts {
		if e.Kind == kind && e.Role == role && !e.Setup {
			return e
		}
	}
	t.Fatalf("no %s by %s among %d facts", kind, role, len(r.Facts))
	return Expectation{}
}

func only(t *testing.T, r *Result, kind Kind) Expectation {
	t.Helper()
	var found []Expectation
	for _, e := range r.Facts {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d facts of kind %s instead of one", len(found), kind)
	}
	return found[0]
}

func fact(kind Kind, role string) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) { t.Helper(); find(t, r, kind, role) }
}

func noFacts(kind Kind, role string) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		for _, e := range r.Facts {
			if e.Kind == kind && e.Role == role {
				t.Errorf("%s by %s is said to have happened", kind, role)
			}
		}
	}
}

func changed(op spoorv1.FileChange_Operation, name string) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		want := name
		if name != "" {
			want = filepath.Join(r.Dir, name)
		}
		for _, e := range r.Facts {
			if e.Kind == FileChange && e.Operation == op && e.File.Path == want && !e.Setup {
				return
			}
		}
		t.Errorf("no %v of %s", op, want)
	}
}

// forbidden: the actor must not be said to have done it to any of the names.
func forbidden(kind Kind, names ...string) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		for _, e := range r.Forbidden {
			for _, name := range names {
				if e.Kind == kind && e.File.Path == filepath.Join(r.Dir, name) && e.Tgid == r.Tgid {
					return
				}
			}
		}
		t.Errorf("%s of %v is not forbidden", kind, names)
	}
}

func gone(name string) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		if _, err := os.Lstat(filepath.Join(r.Dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func stat(t *testing.T, path string) *unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &st
}

func typeIs(name string, mode uint32) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		if st := stat(t, filepath.Join(r.Dir, name)); st.Mode&unix.S_IFMT != mode {
			t.Errorf("%s has mode %#o", name, st.Mode)
		}
	}
}

func links(name string, n uint64) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		if st := stat(t, filepath.Join(r.Dir, name)); uint64(st.Nlink) != n { //nolint:unconvert // it has 32 bits on arm64
			t.Errorf("%s has %d links", name, st.Nlink)
		}
	}
}

func attributes(f func(*testing.T, *unix.Stat_t, string)) check {
	return after(all(content("file", run(oldByte, block)), changed(opAttributes, "file"), func(t *testing.T, r *Result) {
		t.Helper()
		path := filepath.Join(r.Dir, "file")
		f(t, stat(t, path), path)
	}))
}

// named: a file with a remarkable name was written.
func named(remarkable func(path string) bool) check {
	return after(func(t *testing.T, r *Result) {
		path := find(t, r, FileWrite, roleActor).File.Path
		if !remarkable(path) {
			t.Errorf("path is %q", path)
		}
		checkContent(t, path, run(newByte, small))
	})
}

// mappedBy: n processes have the object mapped.
func mappedBy(n int) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		found := 0
		for _, e := range r.Facts {
			if e.Kind != Sharing {
				continue
			}
			maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", e.Tgid))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(maps)) {
				fields := strings.Fields(line)
				if fields[1] == "rw-s" && fields[4] == strconv.FormatUint(e.Share.Object.Inode, 10) {
					found++
				}
			}
		}
		if found != n {
			t.Errorf("%d mappings instead of %d", found, n)
		}
	}
}

func sharesEachOther(kind spoorv1.Share_Kind) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		partner := map[int]int{}
		for _, e := range r.Facts {
			if e.Kind == Sharing {
				partner[e.Tgid] = e.Share.OtherTgid
				if e.Share.Kind != kind {
					t.Errorf("kind is %v", e.Share.Kind)
				}
			}
		}
		if len(partner) != 2 {
			t.Errorf("%d processes share instead of 2", len(partner))
		}
		for a, b := range partner {
			if partner[b] != a {
				t.Errorf("%d shares with %d, which shares with %d", a, b, partner[b])
			}
		}
	}
}
