// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/storage"
)

// envNames makes TestMain do something with files in a directory, as a process of its own: "operation:directory".
const envNames = "SPOOR_TEST_NAMES"

func TestMain(m *testing.M) {
	if what := os.Getenv(envNames); what != "" {
		op, dir, _ := strings.Cut(what, ":")
		if err := operations[op](dir); err != nil {
			fmt.Fprintln(os.Stderr, op, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Under the race detector every process would sleep for a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func removeAll(names ...string) error {
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// operations are done in an empty directory that has, where that is told below, some files already. They end at once: who
// did it is gone before anybody looks.
var operations = map[string]func(dir string) error{
	"without CAP_SYS_ADMIN":       without(unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
	"without CAP_DAC_READ_SEARCH": without(unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
	"private":                     private,
	"many":                        many,
	"create":                      func(dir string) error { return touch(dir + "/new") },
	"mkdir":                       func(dir string) error { return os.Mkdir(dir+"/new", 0o700) },
	"symlink":                     func(dir string) error { return os.Symlink("nowhere", dir+"/new") },
	"mknod":                       func(dir string) error { return unix.Mkfifo(dir+"/new", 0o600) },
	"link":                        func(dir string) error { return os.Link(dir+"/file", dir+"/new") },
	"rename":                      func(dir string) error { return os.Rename(dir+"/file", dir+"/new") },
	"over":                        func(dir string) error { return os.Rename(dir+"/file", dir+"/other") },
	"rename and unlink": func(dir string) error {
		return errors.Join(os.Rename(dir+"/file", dir+"/new"), os.Remove(dir+"/other"))
	},
	"exchange": func(dir string) error {
		return unix.Renameat2(unix.AT_FDCWD, dir+"/file", unix.AT_FDCWD, dir+"/other", unix.RENAME_EXCHANGE)
	},
	"unlink": func(dir string) error { return os.Remove(dir + "/file") },
	"rmdir":  func(dir string) error { return os.Remove(dir + "/sub") },
	"chmod":  func(dir string) error { return os.Chmod(dir+"/file", 0o640) },
	"chdir":  func(dir string) error { return os.Chmod(dir+"/sub", 0o750) },
	"utimes": func(dir string) error { return os.Chtimes(dir+"/file", time.Unix(1, 0), time.Unix(1, 0)) },
	"tmpfile": func(dir string) error {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := unix.Fchmod(fd, 0o644); err != nil {
			return err
		}
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, dir+"/new", unix.AT_SYMLINK_FOLLOW)
	},
	"scratch": func(dir string) error { return errors.Join(touch(dir+"/new"), os.Remove(dir+"/new")) },
	"tree": func(dir string) error {
		return errors.Join(os.MkdirAll(dir+"/a/b", 0o700), touch(dir+"/a/b/f"), removeAll(dir+"/a/b/f", dir+"/a/b", dir+"/a"))
	},
	"many trees": func(dir string) error {
		for i := range manyTrees {
			top := fmt.Sprintf("%s/t%d", dir, i)
			if err := errors.Join(os.MkdirAll(top+"/a/b", 0o700), touch(top+"/a/b/f"), touch(top+"/g"), os.RemoveAll(top)); err != nil {
				return err
			}
		}
		return nil
	},
	"removed tree": func(dir string) error { return removeAll(dir+"/sub2/deep/f", dir+"/sub2/deep", dir+"/sub2") },
	"moved tree": func(dir string) error {
		return errors.Join(touch(dir+"/sub2/deep/g"), os.Rename(dir+"/sub2", dir+"/sub3"), touch(dir+"/sub3/deep/h"))
	},
	"exchanged trees": func(dir string) error {
		return errors.Join(touch(dir+"/sub2/deep/g"), touch(dir+"/sub/g"),
			unix.Renameat2(unix.AT_FDCWD, dir+"/sub", unix.AT_FDCWD, dir+"/sub2", unix.RENAME_EXCHANGE),
			touch(dir+"/sub/deep/h"))
	},
}

// furnished makes a directory with what operations find.
func furnished(t *testing.T, place string) string {
	t.Helper()
	dir, err := os.MkdirTemp(place, "spoor-names-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	err = errors.Join(
		touch(dir+"/file"), touch(dir+"/other"), os.Mkdir(dir+"/sub", 0o700),
		os.MkdirAll(dir+"/sub2/deep", 0o700), touch(dir+"/sub2/deep/f"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// told is how a test writes what it wants: operation, path, and target, below the directory of that name.
func told(c *sensor.NameChange, dir string) string {
	op := map[sensor.NameOp]string{
		sensor.NameCreated: "created", sensor.NameLinked: "linked", sensor.NameRenamed: "renamed", sensor.NameRemoved: "removed", sensor.AttributesChanged: "attributes",
	}[c.Op]
	below := func(path string) string {
		if _, rest, ok := strings.Cut(path, "/"+dir+"/"); ok {
			return rest
		}
		return path
	}
	s := op + " " + below(c.Path)
	if c.Directory {
		s += "/"
	}
	if c.Target != "" {
		s += " -> " + below(c.Target)
	}
	if c.Op == sensor.NameRemoved && !c.Last {
		s += " (linked)"
	}
	return s
}

var wanted = map[string][]string{
	"create":            {"created new"},
	"mkdir":             {"created new/"},
	"symlink":           {"created new"},
	"mknod":             {"created new"},
	"link":              {"linked file -> new"},
	"rename":            {"renamed file -> new"},
	"over":              {"removed other", "renamed file -> other"},
	"rename and unlink": {"renamed file -> new", "removed other"},
	"exchange":          {"renamed file -> other", "renamed other -> file"},
	"unlink":            {"removed file"},
	"rmdir":             {"removed sub/"},
	"chmod":             {"attributes file"},
	"chdir":             {"attributes sub/"},
	"utimes":            {"attributes file"},
	"tmpfile":           {"linked  -> new"},
	"scratch":           {"created new", "removed new"},
	"tree":              {"created a/", "created a/b/", "created a/b/f", "removed a/b/f", "removed a/b/", "removed a/"},
	"removed tree":      {"removed sub2/deep/f", "removed sub2/deep/", "removed sub2/"},
	"moved tree":        {"created sub2/deep/g", "renamed sub2/ -> sub3", "created sub3/deep/h"},
	"exchanged trees":   {"created sub2/deep/g", "created sub/g", "renamed sub/ -> sub2", "renamed sub2/ -> sub", "created sub/deep/h"},
}

// wantedOld is what differs on kernels that tell the halves of a rename, and not what a name led to.
var wantedOld = map[string][]string{
	"unlink":            {"removed file (linked)"},
	"rename and unlink": {"renamed file -> new", "removed other (linked)"},
	"scratch":           {"created new", "removed new (linked)"},
	"removed tree":      {"removed sub2/deep/f (linked)", "removed sub2/deep/", "removed sub2/"},
	"tree":              nil, // what happened in a directory that is gone has no path
}

func openNames(t *testing.T, old bool) *sensor.Names {
	t.Helper()
	r, err := storage.New()
	if err != nil {
		t.Fatal(err)
	}
	tgid, ns := r.Host()
	n, err := sensor.OpenNames(sensor.NamesOptions{HostTgid: tgid, HostNS: ns, Plain: old, Mounts: mountsOf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func mountsOf(tgid uint32) ([]sensor.Mount, error) {
	r, err := storage.New()
	if err != nil {
		return nil, err
	}
	mounts, err := r.ReadMounts(tgid)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	var out []sensor.Mount
	for _, m := range mounts {
		out = append(out, sensor.Mount{ID: m.ID, Dev: m.Dev, Root: m.Root, Point: m.Point, FSType: m.FSType, Writable: m.Writable, WorkDir: m.WorkDir})
	}
	return out, nil
}

// do runs an operation as a process of its own, which has ended when do returns.
func do(t *testing.T, op, dir string) (tgid uint32) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envNames+"="+op+":"+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", op, err, out)
	}
	return uint32(cmd.Process.Pid)
}

// changesOf returns what one process did.
func changesOf(t *testing.T, n observer, tgid uint32) []sensor.NameChange {
	t.Helper()
	var out []sensor.NameChange
	if err := n.Read(func(c *sensor.NameChange) {
		if c.Tgid == tgid {
			out = append(out, *c)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// places are directories on the file systems of this machine: that of temporary files, and tmpfs.
func places(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{"temporary": os.TempDir(), "tmpfs": "/dev/shm"}
	for _, dir := range strings.FieldsFunc(os.Getenv("SPOOR_TEST_DIRS"), func(r rune) bool { return r == ':' }) {
		list[filepath.Base(dir)] = dir
	}
	return list
}

// watchedDir is an empty directory on a file system that is observed on every kernel.
func watchedDir(t *testing.T) string {
	t.Helper()
	for _, place := range places(t) {
		switch st := statfs(t, place); {
		case st.Type == unix.OVERLAYFS_SUPER_MAGIC, st.Type == unix.RAMFS_MAGIC, st.Fsid.Val == [2]int32{}:
			continue
		}
		dir, err := os.MkdirTemp(place, "spoor-names-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	t.Fatal("there is no file system that can be watched: name a directory on one in SPOOR_TEST_DIRS")
	return ""
}

func TestNames(t *testing.T) {
	for name, place := range places(t) {
		for _, old := range []bool{false, true} {
			test := name
			if old {
				test += " before 5.17"
			}
			t.Run(test, func(t *testing.T) {
				n := openNames(t, old)
				if why := n.Unwatched(); slices.ContainsFunc(why, func(s string) bool { return strings.Contains(s, "no id of it") }) {
					if fs := statfs(t, place).Type; fs == unix.TMPFS_MAGIC || fs == unix.RAMFS_MAGIC {
						requireBefore513(t, why)
						return
					}
				}
				testNames(t, place, n)
			})
		}
	}
}

// requireBefore513: a tmpfs may be left out only where the kernel gives it no id.
func requireBefore513(t *testing.T, why []string) {
	t.Helper()
	id := statfs(t, "/dev/shm").Fsid
	if id.Val != [2]int32{} {
		t.Errorf("not watched, though /dev/shm has the id %v: %q", id, why)
	}
}

func statfs(t *testing.T, path string) unix.Statfs_t {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// testNames does every operation in a directory below place.
func testNames(t *testing.T, place string, n *sensor.Names) {
	for op, want := range wanted {
		if old, differs := wantedOld[op]; differs && !n.Renames() {
			if want = old; want == nil {
				continue
			}
		}
		if op == "tmpfile" && !hasTmpfile(t, place) {
			continue
		}
		t.Run(op, func(t *testing.T) {
			dir := furnished(t, place)
			changesOf(t, n, 0)
			inodes := inodesIn(t, dir)
			tgid := do(t, op, dir)
			changes := changesOf(t, n, tgid)
			var got []string
			for _, c := range changes {
				got = append(got, told(&c, filepath.Base(dir)))
				if c.After > c.Before {
					t.Errorf("%s happened after %d and before %d", got[len(got)-1], c.After, c.Before)
				}
				if ino := inodes[filepath.Base(c.Path)]; ino != 0 && c.Inode.Number != 0 && c.Inode.Number != ino {
					t.Errorf("%s is about inode %d, want %d", got[len(got)-1], c.Inode.Number, ino)
				}
				if c.Inode.Number == 0 && n.Renames() {
					t.Errorf("%s tells no inode", got[len(got)-1])
				}
			}
			if op == "over" { // of the file that was replaced the kernel tells later, perhaps after the other was read
				slices.Sort(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("told\n  %q\nwant\n  %q", got, want)
			}
		})
	}
}

// hasTmpfile: an overlay has no files without a name before 6.3.
func hasTmpfile(t *testing.T, dir string) bool {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return unix.Close(fd) == nil
}

// TestNamesWithoutRights: the error says what is missing.
func TestNamesWithoutRights(t *testing.T) {
	do(t, "without CAP_SYS_ADMIN", "/")
	do(t, "without CAP_DAC_READ_SEARCH", "/")
}

// without opens the sensor in a thread that lacks a capability, and wants it named.
func without(capability uint, name string) func(string) error {
	return func(string) error {
		runtime.LockOSThread()
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			return err
		}
		data[capability/32].Effective &^= 1 << (capability % 32)
		r, err := storage.New() // while it may look
		if err != nil {
			return err
		}
		tgid, ns := r.Host()
		if err := unix.Capset(&head, &data[0]); err != nil {
			return err
		}
		n, err := sensor.OpenNames(sensor.NamesOptions{HostTgid: tgid, HostNS: ns, Mounts: mountsOf})
		if err == nil {
			return errors.Join(errors.New("it can be opened"), n.Close())
		}
		if !strings.Contains(err.Error(), name) {
			return fmt.Errorf("it does not say that %s is missing: %w", name, err)
		}
		return nil
	}
}

// How many trees one process makes and removes as fast as it can.
const manyTrees = 500

// TestNamesOfTreesThatAreGone: directories are gone before anybody can ask for their paths.
func TestNamesOfTreesThatAreGone(t *testing.T) {
	n := openNames(t, false)
	if !n.Renames() {
		return // such a kernel does not tell which directory was removed
	}
	dir := watchedDir(t)
	tgid := do(t, "many trees", dir)
	made, removed := 0, 0
	for _, c := range changesOf(t, n, tgid) {
		switch c.Op {
		case sensor.NameCreated:
			made++
		case sensor.NameRemoved:
			removed++
		}
		if c.PathCut || !strings.Contains(c.Path, "/"+filepath.Base(dir)+"/t") {
			t.Errorf("%s lacks its beginning", told(&c, filepath.Base(dir)))
		}
	}
	if want := 5 * manyTrees; made != want || removed != want {
		t.Errorf("%d made and %d removed, want %d of each", made, removed, want)
	}
}

func inodesIn(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[string]uint64{}
	if statfs(t, dir).Type == unix.OVERLAYFS_SUPER_MAGIC { // events are about the upper files
		return inodes
	}
	for _, e := range list {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, e.Name()), &st); err != nil {
			t.Fatal(err)
		}
		inodes[e.Name()] = st.Ino
	}
	return inodes
}
