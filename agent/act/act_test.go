// SPDX-License-Identifier: Apache-2.0

package act

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Main()
	// Under the race detector every process would sleep for a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// envDirs lists more directories to do the acts in, on further file systems, separated by colons; test/kernels sets it.
const envDirs = "SPOOR_TEST_DIRS"

// limit is more than any act takes, also on an emulated machine that is busy.
const limit = 2 * time.Minute

// places are directories on the file systems that are there: the one of temporary files, tmpfs, and the given ones.
func places(t *testing.T) []string {
	t.Helper()
	list := []string{t.TempDir()}
	more := strings.FieldsFunc(os.Getenv(envDirs), func(r rune) bool { return r == ':' })
	if fsType(list[0]) != "tmpfs" {
		more = append(more, shmDir)
	}
	for _, dir := range more {
		own, err := os.MkdirTemp(dir, "act-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(own) })
		list = append(list, own)
	}
	return list
}

// TestActs does every act on every file system and looks whether it happened, by other means than the act's own.
func TestActs(t *testing.T) {
	checks := checks()
	for i, dir := range places(t) {
		fs := fsType(dir)
		t.Run(strings.Trim(fs+filepath.Dir(dir), "/"), func(t *testing.T) {
			for _, a := range All() {
				if i > 0 && a.Group != GroupFile {
					// The file system makes no difference to it.
					continue
				}
				t.Run(a.Name, func(t *testing.T) {
					check, ok := checks[a.Name]
					if !ok {
						t.Fatalf("no check says what act %s does", a.Name)
					}
					doAndCheck(t, a, Env{Dir: dir}, check)
				})
			}
		})
	}
}

// TestActsInOwnNetns does the acts of the network once more in network namespaces of their own.
func TestActsInOwnNetns(t *testing.T) {
	checks := checks()
	for _, a := range All() {
		if a.Group == GroupNetwork {
			t.Run(a.Name, func(t *testing.T) {
				doAndCheck(t, a, Env{Dir: t.TempDir(), Netns: NetnsOwn}, checks[a.Name])
			})
		}
	}
}

func doAndCheck(t *testing.T, a *Act, env Env, check check) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var held *Result
	env.Hold = func(_ context.Context, r *Result) error {
		held = r
		checkFacts(t, r)
		if check.held != nil {
			check.held(t, r)
		}
		return nil
	}
	r, err := a.Do(ctx, env)
	if lack, ok := errors.AsType[*Unsupported](err); ok {
		if !mayLack(a.Name, fsType(env.Dir), env.Dir, lack.Reason) {
			t.Errorf("%v, although it should be possible", err)
		}
		t.Log(err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if held == nil {
		t.Fatal("Hold was not called")
	}
	checkGone(t, r)
	if check.after != nil {
		check.after(t, r)
	}
}

// mayLack says which acts a file system or an old kernel really cannot do. Everything else must work on the kernels that
// are tested.
func mayLack(name, fs, dir, reason string) bool {
	under := fs
	if fs == "overlay" {
		if f, err := identify(dir); err == nil && f.Upper != nil {
			under = f.Upper.FSType
		}
	}
	if os.Geteuid() != 0 && (strings.Contains(reason, "CAP_") || strings.Contains(reason, "not permitted")) {
		return true
	}
	switch name {
	case "reflink":
		return under == "ext4" || under == "tmpfs"
	case "direct", "aio-direct":
		// tmpfs since 6.6.
		return under == "tmpfs" && !kernelAtLeast(6, 6)
	case "tmpfile-linkat":
		// Overlay since 6.1.
		return fs == "overlay" && !kernelAtLeast(6, 3)
	case "tcp4-mptcp":
		// Distributions did not build it into theirs at first.
		return !kernelAtLeast(6, 0)
	case "rsync", "sctp4":
		return true // the package, or the kernel's module, need not be installed
	case "io-uring-renameat", "io-uring-unlinkat":
		return !kernelAtLeast(5, 11)
	default:
		return false
	}
}

func kernelAtLeast(major, minor int) bool {
	var a, b int
	if _, err := sscanRelease(kernelRelease(), &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// checkFacts looks, while everything is still in place, whether what is said about files and processes is so.
func checkFacts(t *testing.T, r *Result) {
	t.Helper()
	if len(r.Facts)+len(r.Forbidden) == 0 {
		t.Error("the act says nothing about what happened")
	}
	for i, e := range slices.Concat(r.Facts, r.Forbidden) {
		if e.Tgid == 0 || e.Tgid == os.Getpid() {
			t.Errorf("%s by %s: the process is %d", e.Kind, e.Role, e.Tgid)
		}
		if e.Role == "" {
			t.Errorf("%s by %d: no role", e.Kind, e.Tgid)
		}
		if e.File != nil && !e.Setup && !e.File.Unlinked && !movedOn(r, e) {
			checkFile(t, e, i >= len(r.Facts))
		}
	}
	if r.End.Before(r.Start) || r.Start.IsZero() {
		t.Errorf("it took from %v to %v", r.Start, r.End)
	}
}

func checkFile(t *testing.T, e Expectation, forbidden bool) {
	t.Helper()
	f := e.File
	path := f.Path
	if e.TargetPath != "" {
		path = e.TargetPath
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	// The size of a file that the process did not write may have changed since it looked.
	if st.Ino != f.Inode || st.Size != f.Size && !forbidden {
		t.Errorf("%q is inode %d with %d bytes, not %d with %d", path, st.Ino, st.Size, f.Inode, f.Size)
	}
	if f.FSType != "btrfs" && f.FSType != "overlay" {
		if dev := kernelDev(uint64(unix.Major(st.Dev)), uint64(unix.Minor(st.Dev))); dev != f.Dev {
			t.Errorf("%q is on device %#x, not %#x", path, dev, f.Dev)
		}
	}
	if regular := st.Mode&unix.S_IFMT == unix.S_IFREG; regular && (f.FSType == "ext4" || f.FSType == "xfs" || f.FSType == "btrfs") != f.HasGeneration {
		t.Errorf("%q on %s: generation known: %v", path, f.FSType, f.HasGeneration)
	}
	if f.FSType == "overlay" && f.Upper == nil && len(path) < pathMax/2 {
		t.Errorf("%q: not found in the upper layer", path)
	}
}

// movedOn: the file was removed or renamed after the fact, or lies in a mount namespace that is not ours.
func movedOn(r *Result, e Expectation) bool {
	for _, later := range r.Facts {
		if later.Kind == FileChange && later.File.Inode == e.File.Inode &&
			(later.Operation == opUnlink || later.Operation == opRename && later.TargetPath != e.TargetPath) {
			return true
		}
	}
	return r.Act == "bind-write"
}

// checkGone: no process of the act is left.
func checkGone(t *testing.T, r *Result) {
	t.Helper()
	for _, e := range r.Facts {
		if err := unix.Kill(e.Tgid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("%s %d is still there: %v", e.Role, e.Tgid, err)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	word := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, a := range All() {
		if !word.MatchString(a.Name) || seen[a.Name] {
			t.Errorf("name %q is malformed or taken", a.Name)
		}
		seen[a.Name] = true
		if a.Summary == "" || a.Group == "" || a.run == nil {
			t.Errorf("act %s lacks a summary, a group or its function", a.Name)
		}
		if got := Find(a.Name); got == nil || got.Name != a.Name {
			t.Errorf("Find(%q) = %v", a.Name, got)
		}
	}
	if Find("no-such-act") != nil {
		t.Error("Find finds what does not exist")
	}
	for name := range checks() {
		if !seen[name] {
			t.Errorf("a check is for act %s, which does not exist", name)
		}
	}
}

func TestDoSaysWhatIsWrongWithDir(t *testing.T) {
	a := Find("append")
	for dir, want := range map[string]string{
		"relative":                           "not absolute",
		filepath.Join(t.TempDir(), "absent"): "no such file",
		"/proc/self/status":                  "not a directory",
	} {
		if _, err := a.Do(t.Context(), Env{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("in %s: %v, want %q", dir, err, want)
		}
	}
}

func TestDoEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var r *Result
	_, err := Find("tcp4-live").Do(ctx, Env{Dir: t.TempDir(), Hold: func(ctx context.Context, held *Result) error {
		r = held
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	deadline := time.Now().Add(limit)
	for _, e := range r.Facts {
		for unix.Kill(e.Tgid, 0) == nil && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if err := unix.Kill(e.Tgid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("%s %d outlives its context: %v", e.Role, e.Tgid, err)
		}
	}
}

func TestDoReportsFailureOfARole(t *testing.T) {
	broken := errors.New("nothing works")
	a := *Find("append")
	a.Name = "unheard-of"
	_, err := a.Do(t.Context(), Env{Dir: t.TempDir(), Hold: func(context.Context, *Result) error { return broken }})
	if err == nil || !strings.Contains(err.Error(), "names no act") {
		t.Errorf("error is %v", err)
	}
	_, err = Find("append").Do(t.Context(), Env{Dir: t.TempDir(), Hold: func(context.Context, *Result) error { return broken }})
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	_, err = Find("append").Do(t.Context(), Env{Dir: t.TempDir(), Cgroups: map[string]string{roleSetup: "/proc/no-such-cgroup"}})
	if err == nil || !strings.Contains(err.Error(), "setup: enter cgroup") {
		t.Errorf("error is %v", err)
	}
}
