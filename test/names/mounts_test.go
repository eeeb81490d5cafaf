// SPDX-License-Identifier: Apache-2.0

package names

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/sensor"
)

const limit = time.Minute

// eventually waits until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func mount(t *testing.T, source, dir, fsType, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, dir, fsType, 0, options); err != nil {
		t.Fatalf("mount %s at %s: %v", fsType, dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// has says whether a change of the operation and path is told, in what was read until now.
type has struct {
	n    *sensor.Names
	seen []sensor.NameChange
}

func (h *has) told(t *testing.T, tgid uint32, op sensor.NameOp, suffix string) bool {
	t.Helper()
	if err := h.n.Read(func(c *sensor.NameChange) { h.seen = append(h.seen, *c) }); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(h.seen, func(c sensor.NameChange) bool {
		return (tgid == 0 || c.Tgid == tgid) && c.Op == op && strings.HasSuffix(c.Path, suffix) && !c.PathCut
	})
}

// TestNamesOnNewMounts: a file system that is mounted later is observed, and can be unmounted at any time.
func TestNamesOnNewMounts(t *testing.T) {
	h := &has{n: openNames(t, false)}
	if !slices.Contains(h.n.Watched(), "tmpfs") {
		return // this kernel gives tmpfs no id; TestNames makes sure of that
	}
	dir := t.TempDir()
	mount(t, "spoor", dir, "tmpfs", "")
	i := 0
	eventually(t, "a file made on a new file system is told", func() bool {
		i++
		if err := touch(fmt.Sprintf("%s/file%d", dir, i)); err != nil {
			t.Fatal(err)
		}
		return h.told(t, uint32(os.Getpid()), sensor.NameCreated, "") && slices.ContainsFunc(h.seen, func(c sensor.NameChange) bool {
			return c.Path == fmt.Sprintf("/file%d", i) && c.FSType == "tmpfs"
		})
	})
	// Events whose directories have to be asked for, up to the last moment.
	for i := range 100 {
		if err := errors.Join(os.Mkdir(fmt.Sprintf("%s/d%d", dir, i), 0o755), touch(fmt.Sprintf("%s/d%d/f", dir, i))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the file system can be unmounted", func() bool {
		err := unix.Unmount(dir, 0)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestNamesOnOverlay: changes are told of the upper layer, without what the overlay does for itself.
func TestNamesOnOverlay(t *testing.T) {
	h := &has{n: openNames(t, false)}
	top := watchedDir(t)
	lower, upper, work, merged := top+"/lower", top+"/upper", top+"/wo rk", top+"/merged"
	for _, dir := range []string{lower + "/dir", upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file", "other", "changed", "dir/below"} {
		if err := touch(lower + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "overlay", merged, "overlay", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work))
	// The work directory is known when the mount has been seen: then what happens in it is not told any more.
	var probe int
	eventually(t, "an overlay's own files are not told", func() bool {
		probe++
		if err := touch(fmt.Sprintf("%s/work/#%d", work, probe)); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s/probe%d", upper, probe)
		if err := touch(name); err != nil {
			t.Fatal(err)
		}
		return h.told(t, 0, sensor.NameCreated, fmt.Sprintf("/probe%d", probe)) &&
			!h.told(t, 0, sensor.NameCreated, fmt.Sprintf("/work/#%d", probe))
	})
	h.seen = nil

	for _, step := range []struct {
		name string
		do   func() error
		op   sensor.NameOp
		path string
	}{
		{"make", func() error { return touch(merged + "/new") }, sensor.NameCreated, "/upper/new"},
		{"remove a lower file", func() error { return os.Remove(merged + "/file") }, sensor.NameRemoved, "/upper/file"},
		{"make it again", func() error { return touch(merged + "/file") }, sensor.NameCreated, "/upper/file"},
		{"remove it again", func() error { return os.Remove(merged + "/file") }, sensor.NameRemoved, "/upper/file"},
		{"rename a lower file", func() error { return os.Rename(merged+"/other", merged+"/moved") }, sensor.NameRenamed, "/upper/other"},
		{"remove a lower directory", func() error { return os.RemoveAll(merged + "/dir") }, sensor.NameRemoved, "/upper/dir"},
		{"remove", func() error { return os.Remove(merged + "/new") }, sensor.NameRemoved, "/upper/new"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !h.told(t, uint32(os.Getpid()), step.op, step.path) {
			var got []string
			for _, c := range h.seen {
				got = append(got, told(&c, filepath.Base(top)))
			}
			t.Errorf("%s: not told; told was %q", step.name, got)
		}
		h.seen = nil
	}
	// A copy of a lower file appears in the upper layer when it is changed.
	if err := os.Chmod(merged+"/changed", 0o640); err != nil {
		t.Fatal(err)
	}
	if !h.told(t, 0, sensor.NameCreated, "/upper/changed") && !slices.ContainsFunc(h.seen, func(c sensor.NameChange) bool {
		return c.Op == sensor.NameLinked && strings.HasSuffix(c.Target, "/upper/changed")
	}) {
		t.Errorf("the copy of a lower file is not told: %+v", h.seen)
	}
	for _, c := range h.seen {
		if strings.Contains(c.Path+c.Target, "/work/") || strings.Contains(c.Path+c.Target, "#") {
			t.Errorf("told of what the overlay does for itself: %s", told(&c, filepath.Base(top)))
		}
	}
}

// TestNamesInNamespace: a tmpfs that is mounted in a container only.
func TestNamesInNamespace(t *testing.T) {
	h := &has{n: openNames(t, false)}
	if !slices.Contains(h.n.Watched(), "tmpfs") {
		return // see TestNamesOnNewMounts
	}
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envNames+"=private:"+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() { // it has mounted
		t.Fatal("it said nothing")
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid), &st); err != nil {
		t.Fatal(err)
	}
	h.n.Enter(uint32(st.Ino), uint32(cmd.Process.Pid))
	if _, err := in.Write([]byte{'\n'}); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() { // it has made a directory and a file in it
		t.Fatal("it said nothing more")
	}
	if !h.told(t, uint32(cmd.Process.Pid), sensor.NameCreated, "/deep/file") {
		t.Errorf("a file on a file system that only its namespace sees is not told: %+v", h.seen)
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// private mounts a tmpfs for itself, waits for a line, makes a file and waits for the end of its input.
func private(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("spoor", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	input := bufio.NewReader(os.Stdin)
	if _, err := fmt.Fprintln(os.Stdout, "mounted"); err != nil {
		return err
	}
	if _, err := input.ReadString('\n'); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(dir+"/deep", 0o755), touch(dir+"/deep/file")); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, "made"); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, input)
	return err
}

// TestNamesOverflow: when nobody takes what is told, the queue of the kernel runs over, and that is counted.
func TestNamesOverflow(t *testing.T) {
	n := openNames(t, false)
	if !slices.Contains(n.Watched(), "tmpfs") {
		return // see TestNamesOnNewMounts
	}
	dir, err := os.MkdirTemp("/dev/shm", "spoor-names-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	lost := func() uint64 {
		losses, err := n.Losses()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range losses {
			if l.Reason == "queue_overflow" {
				return l.Count
			}
		}
		t.Fatal("overflows are not counted")
		return 0
	}
	const burst = 20_000
	for i := 0; lost() == 0; i++ {
		if i == 10 {
			t.Fatalf("after %d files, of which nobody read, nothing is counted as lost", i*burst)
		}
		for j := range burst {
			if err := touch(fmt.Sprintf("%s/%d-%d", dir, i, j)); err != nil {
				t.Fatal(err)
			}
		}
		if i > 3 { // there was more than all queues hold: take it, up to the overflow
			changesOf(t, n, 0)
		}
	}
	// It goes on afterwards.
	changesOf(t, n, 0)
	tgid := do(t, "create", dir)
	if got := changesOf(t, n, tgid); len(got) != 1 {
		t.Errorf("after an overflow %+v is told, want a creation", got)
	}
}
