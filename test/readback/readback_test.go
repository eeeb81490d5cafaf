// SPDX-License-Identifier: Apache-2.0

package readback

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

// envDo makes TestMain do something with a file, as a process of its own: "operation:file".
const envDo = "SPOOR_TEST_READBACK"

const limit = time.Minute

func TestMain(m *testing.M) {
	if what := os.Getenv(envDo); what != "" {
		op, path, _ := strings.Cut(what, ":")
		if err := operations[op](path); err != nil {
			fmt.Fprintln(os.Stderr, op, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

var operations = map[string]func(path string) error{
	"write":  func(path string) error { return os.WriteFile(path, []byte("state"), 0o600) },
	"append": func(path string) error { return open(path, os.O_WRONLY|os.O_APPEND, []byte("more")) },
	"renew":  func(path string) error { return open(path, os.O_WRONLY|os.O_TRUNC, []byte("new")) },
	"read": func(path string) error {
		_, err := os.ReadFile(path)
		return err
	},
	// As a database is: for both, and then read.
	"consult": func(path string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = io.ReadAll(f)
		return errors.Join(err, f.Close())
	},
	"map": func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		b, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		return errors.Join(unix.Munmap(b), f.Close())
	},
}

func open(path string, flags int, content []byte) error {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// world is an agent and what it told.
type world struct {
	t      *testing.T
	agent  *watch.Watch
	mu     sync.Mutex
	events []*spoorv1.Event
	lives  int
}

func start(t *testing.T, o agent.Options) *world {
	t.Helper()
	w := &world{t: t}
	w.resume(o)
	return w
}

// resume starts an agent, the first or the next.
func (w *world) resume(o agent.Options) {
	w.t.Helper()
	o.Interval = 100 * time.Millisecond
	var err error
	w.agent, err = watch.Start(w.t.Context(), o, func(ev *spoorv1.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, ev)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.agent.Stop(); err != nil {
		w.t.Error(err)
	}
}

// coverage is what the agent says of the sensor.
func (w *world) coverage() *spoorv1.Coverage {
	var c *spoorv1.Coverage
	w.until("the agent tells its coverage", func() bool {
		for _, ev := range w.told() {
			if got := ev.GetCoverage(); got.GetSensor() == "readback" {
				c = got
			}
		}
		return c != nil
	})
	return c
}

func (w *world) told() []*spoorv1.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clip(w.events)
}

func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(limit); !done(); {
		if time.Now().After(deadline) {
			for _, ev := range w.told() {
				if f := ev.GetFileWrite().GetFile(); strings.Contains(f.GetPath(), "spoor-readback-") {
					w.t.Logf("%s wrote %s, unlinked: %v", ev.GetInstance().GetWorkload().GetName(), f.GetPath(), f.GetUnlinked())
				}
				if l := ev.GetLoss(); l != nil {
					w.t.Logf("lost: %v", l)
				}
			}
			w.t.Fatalf("%s: not within %v; of files that are shared it told %v", what, limit, w.shares(""))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// life is one activation of a unit: a cgroup that is made for it, and removed when it ends.
type life struct {
	w   *world
	dir string
}

func (w *world) begin(unit string) *life {
	w.t.Helper()
	root, err := kernel.CgroupMount()
	if err != nil || root == "" {
		w.t.Fatalf("no cgroup v2 hierarchy is mounted, which the agent needs to tell units apart: %v", err)
	}
	dir := filepath.Join(root, "system.slice", unit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	l := &life{w, dir}
	w.t.Cleanup(func() { _ = unix.Rmdir(dir) })
	return l
}

func (l *life) do(op, path string) {
	l.w.t.Helper()
	dir, err := os.Open(l.dir)
	if err != nil {
		l.w.t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envDo+"="+op+":"+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil {
		l.w.t.Fatalf("%s %s: %v\n%s", op, path, err, out)
	}
}

func (l *life) end() {
	l.w.t.Helper()
	l.w.until("the cgroup of a life that ended can be removed", func() bool { return unix.Rmdir(l.dir) == nil })
}

// write writes a file until that is told, which on a machine that stood still in between it may not be, and returns it.
func (l *life) write(path, unit string) *spoorv1.Event {
	l.w.t.Helper()
	w := l.w
	l.do("write", path)
	var wrote *spoorv1.Event
	again := time.Now().Add(limit / 10)
	w.until("the write of "+path+" is told", func() bool {
		if time.Now().After(again) {
			l.do("append", path)
			again = time.Now().Add(limit / 10)
		}
		for _, ev := range w.told() {
			if ev.GetFileWrite().GetFile().GetPath() == path && ev.GetInstance().GetWorkload().GetName() == unit {
				wrote = ev
			}
		}
		return wrote != nil
	})
	return wrote
}

// shares are the events that tell of a reading; path "" means any.
func (w *world) shares(path string) []*spoorv1.Event {
	var out []*spoorv1.Event
	for _, ev := range w.told() {
		if s := ev.GetShare(); s.GetAccess() == spoorv1.Share_ACCESS_READ && (path == "" || s.GetFile().GetPath() == path) {
			out = append(out, ev)
		}
	}
	return out
}

// reads waits until so many readings of a file are told.
func (w *world) reads(path string, n int) []*spoorv1.Event {
	w.t.Helper()
	w.until(fmt.Sprintf("%d readings of %s are told", n, path), func() bool { return len(w.shares(path)) >= n })
	return w.shares(path)
}

func (w *world) unit(name string) string {
	return fmt.Sprintf("spoor-test-%s-%d.service", name, os.Getpid())
}

// TestReadBack is the story of a unit that keeps state, in each tier.
func TestReadBack(t *testing.T) {
	full := kernel.Fentry() == nil
	for _, tier := range []string{agent.TierBase, agent.TierAuto} {
		t.Run(tier, func(t *testing.T) {
			w := start(t, agent.Options{Tier: tier})
			defer w.stop()
			want := "base"
			if full && tier == agent.TierAuto {
				want = "full"
			}
			if c := w.coverage(); c.GetTier() != want {
				t.Fatalf("the sensor is in tier %s, want %s: %s", c.GetTier(), want, c.GetReason())
			}
			for _, place := range places(t) {
				t.Run(strings.ReplaceAll(strings.TrimPrefix(place, "/"), "/", "-"), func(t *testing.T) {
					w.t = t
					w.story(place)
				})
				w.t = t
			}
			if want == "full" {
				t.Run("at once", func(t *testing.T) {
					w.t = t
					w.atOnce()
				})
				w.t = t
			}
		})
	}
}

// places are directories on the file systems whose files have handles on every kernel, and an overlay's not.
func places(t *testing.T) []string {
	t.Helper()
	all := append([]string{os.TempDir()}, strings.FieldsFunc(os.Getenv("SPOOR_TEST_DIRS"), func(r rune) bool { return r == ':' })...)
	var list []string
	for _, dir := range all {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Type != unix.OVERLAYFS_SUPER_MAGIC && st.Type != unix.RAMFS_MAGIC && st.Fsid.Val != [2]int32{} {
			list = append(list, dir)
		}
	}
	if len(list) == 0 {
		t.Fatal("there is no file system with an id: name a directory on one in SPOOR_TEST_DIRS")
	}
	return list
}

func (w *world) story(place string) {
	t := w.t
	dir, err := os.MkdirTemp(place, "spoor-readback-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w.lives++
	unit, other := w.unit(fmt.Sprint("a", w.lives)), w.unit(fmt.Sprint("b", w.lives))
	state, log, last := dir+"/state", dir+"/log", dir+"/last"

	first := w.begin(unit)
	wrote := first.write(state, unit)
	first.write(log, unit)
	first.do("read", state)
	first.do("append", state)
	first.end()

	second := w.begin(unit)
	second.do("append", log)
	second.do("consult", state)
	got := w.reads(state, 1)[0]
	s := got.GetShare()
	if me := got.GetInstance(); me.GetWorkload().GetName() != unit || s.GetOther().GetName() != unit ||
		s.GetOtherInstance() != wrote.GetInstance().GetId() || me.GetId() == s.GetOtherInstance() {
		t.Errorf("the reader is %v, and who wrote is told as %v", me, s)
	}
	if s.GetKind() != spoorv1.Share_KIND_FILE || s.GetFile().GetInode() != wrote.GetFileWrite().GetFile().GetInode() ||
		s.GetFile().GetStorageClass() != wrote.GetFileWrite().GetFile().GetStorageClass() || s.GetOtherExecId() == "" || s.GetWritten() == nil {
		t.Errorf("told was %v, of what was written as %v", s, wrote.GetFileWrite())
	}
	second.do("read", state)

	third := w.begin(other)
	third.do("map", state)
	for _, ev := range w.reads(state, 2)[1:] {
		if ev.GetInstance().GetWorkload().GetName() != other || ev.GetShare().GetOther().GetName() != unit {
			t.Errorf("another unit read, told was %v", ev)
		}
	}
	third.do("renew", state)
	third.do("read", state)
	third.write(last, other)
	second.do("read", last)
	w.reads(last, 1) // what was done before is told by now, if it is told at all
	if got := w.shares(state); len(got) != 2 {
		t.Errorf("%d readings are told, want one for each reading instance: %v", len(got), got)
	}
	if got := w.shares(log); len(got) != 0 {
		t.Errorf("a file was opened to be appended to, told was %v", got)
	}
	second.end()
	third.end()
}

// atOnce: state that is written at the end of a life, and read when the next one begins.
func (w *world) atOnce() {
	dir := w.t.TempDir()
	unit := w.unit("quick")
	first := w.begin(unit)
	first.do("write", dir+"/state")
	first.end()
	w.begin(unit).do("read", dir+"/state")
	w.reads(dir+"/state", 1)
}

// TestNextAgent: state is written under the eyes of one agent, and read under those of the next; in the full tier also while there is none.
func TestNextAgent(t *testing.T) {
	mount := scene.BPFFS(t)
	for _, tier := range []string{agent.TierBase, agent.TierAuto} {
		t.Run(tier, func(t *testing.T) {
			o := agent.Options{Tier: tier, Pin: filepath.Join(mount, tier)}
			w := start(t, o)
			full := w.coverage().GetTier() == "full"
			dir, err := os.MkdirTemp(places(t)[0], "spoor-readback-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			unit := w.unit("next-" + tier)
			state, quick, gone := dir+"/state", dir+"/quick", dir+"/gone"

			first := w.begin(unit)
			var wrote *spoorv1.Event
			for _, path := range []string{quick, gone, state} {
				wrote = first.write(path, unit)
			}
			if err := os.Remove(gone); err != nil {
				t.Fatal(err)
			}
			w.stop()
			first.end()
			if full {
				w.begin(unit).do("read", quick) // nobody is there
			}
			w.resume(o)
			defer w.stop()
			second := w.begin(unit)
			second.do("read", state)
			if !full {
				second.do("read", quick)
			}
			for _, path := range []string{state, quick} {
				s := w.reads(path, 1)[0].GetShare()
				if s.GetOther().GetName() != unit || s.GetOtherInstance() != wrote.GetInstance().GetId() || s.GetOtherExecId() == "" || s.GetWritten() == nil {
					t.Errorf("who wrote %s is told as %v, want %v", path, s, wrote.GetInstance())
				}
			}
			gaps := 0
			for _, ev := range w.told() {
				if l := ev.GetLoss(); l.GetSource() == "readback" && l.GetReason() == "no_agent" {
					gaps++
				}
			}
			if full && gaps != 0 || !full && gaps != 1 {
				t.Errorf("%d gaps are told, in the full tier: %v", gaps, full)
			}
		})
	}
}
