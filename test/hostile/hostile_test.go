// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/unit"
)

// role is what this program is instead of a test, when it starts itself; its only argument is a URL or a folder.
const role = "SPOOR_HOSTILE_ROLE"

const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	what := os.Getenv(role)
	if what == "" {
		os.Exit(m.Run())
	}
	do, known := roles[what]
	if !known {
		do = func(string) error { return errors.New("no role") }
	}
	if err := do(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var roles = map[string]func(string) error{"agent": runAgent, "names": deepNames, "arguments": longArguments, "volume": falseVolume, "mounts": manyMounts}

// runAgent is an agent until SIGTERM.
func runAgent(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a, err := agent.New(agent.Options{CollectorURL: url, Node: "harassed", Pin: "off", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// subject is the agent, and what it told.
type subject struct {
	*testing.T
	cmd *exec.Cmd
	mu  sync.Mutex
	// The largest batch, in bytes.
	largest int
	seen    map[string]bool // paths of files that were told of
	covered bool
	lost    map[string]uint64
}

func start(t *testing.T) *subject {
	t.Helper()
	s := &subject{T: t, seen: map[string]bool{}, lost: map[string]uint64{}}
	receiver, err := watch.Receive(s.take)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := receiver.Close(); err != nil {
			t.Error(err)
		}
	})
	s.cmd = myself("agent", receiver.URL())
	s.cmd.Env = append(s.cmd.Env, "GOMEMLIMIT=160MiB") // as deploy/kubernetes has it
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hangs := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
		defer hangs.Stop()
		if err := errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait()); err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	s.until("the agent is at work", func() bool { return s.covered })
	return s
}

func (s *subject) take(b *spoorv1.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.largest = max(s.largest, proto.Size(b))
	for _, r := range b.GetRecords() {
		s.covered = s.covered || r.GetCoverage() != nil
		if f := r.GetFileWrite().GetFile(); f != nil && len(f.GetPath()) < 200 {
			s.seen[f.GetPath()] = true
		}
		if l := r.GetLoss(); l != nil {
			s.lost[l.GetSource()+" "+l.GetReason()] += l.GetCount()
		}
	}
}

func (s *subject) until(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		ok := is()
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain until %s", what)
		}
	}
}

// sees writes a file, as somebody else on the node would, and waits until it is told of.
func (s *subject) sees() time.Duration {
	s.Helper()
	path := filepath.Join(s.TempDir(), "innocent")
	begun := time.Now()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		s.Fatal(err)
	}
	s.until("it told of "+path, func() bool { return s.seen[path] })
	return time.Since(begun)
}

// most is the most memory that the agent ever had, in MiB (VmHWM, proc_pid_status(5)).
func (s *subject) most() int {
	s.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				s.Fatal(err)
			}
			return n >> 10
		}
	}
	s.Fatal("the kernel does not tell how much memory it had")
	return 0
}

func myself(what, where string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", where)
	cmd.Env = append(os.Environ(), role+"="+what)
	return cmd
}

// attack has somebody in a unit of his own do something.
func (s *subject) attack(what string) {
	s.Helper()
	_, fd := unit.New(s.T)
	cmd := myself(what, s.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	begun := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	s.Logf("%s took %v", what, time.Since(begun))
}

const component = 250

// deep makes, and goes into, the longest path that a process may have, of bytes that are no UTF-8.
func deep(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	for n := len(dir); n+component+1 < 4096-component; n += component + 1 {
		name := strings.Repeat("\xff", component)
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
		if err := os.Chdir(name); err != nil {
			return err
		}
	}
	return nil
}

func deepNames(dir string) error {
	const files = 30000
	if err := deep(dir); err != nil {
		return err
	}
	for range 2 {
		for i := range files {
			f, err := os.OpenFile(fmt.Sprint(strings.Repeat("\xfe", component-8), i), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				return err
			}
			if _, err := f.WriteString("x"); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// longArguments has a shell execute itself again and again.
func longArguments(dir string) error {
	const again = "#!/bin/sh\ni=$1; shift; [ $i -eq 0 ] || exec \"$0\" $((i-1)) \"$@\"\n"
	script := filepath.Join(dir, "again")
	if err := os.WriteFile(script, []byte(again), 0o700); err != nil {
		return err
	}
	if err := deep(dir); err != nil {
		return err
	}
	cmd := exec.Command(script, "6000", strings.Repeat("\xff", 4000))
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// falseVolume writes to what looks like a volume of kubelet's, whose notes are a pipe that nobody writes to.
func falseVolume(dir string) error {
	volume := filepath.Join(dir, "pods/00000000-0000-4000-8000-000000000000/volumes/kubernetes.io~csi/false")
	if err := os.MkdirAll(filepath.Join(volume, "mount"), 0o700); err != nil {
		return err
	}
	if err := unix.Mkfifo(filepath.Join(volume, "vol_data.json"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(volume, "mount/file"), []byte("x"), 0o600)
}

// alone moves this thread, which is locked, and what it starts into namespaces of their own.
func alone(spaces int) error {
	runtime.LockOSThread()
	if err := unix.Unshare(spaces); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return nil
}

// again has many programs begin here, each of which writes a file.
func again(dir string) error {
	return exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 100 ]; do sh -c 'echo x > '$0/$i; i=$((i+1)); done", dir).Run()
}

// manyMounts fills a mount namespace, as far as the kernel lets it in the time.
func manyMounts(dir string) error {
	if err := alone(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	long := filepath.Join(dir, strings.Repeat("long", component/4))
	if err := os.Mkdir(long, 0o700); err != nil {
		return err
	}
	for n := range 20000 {
		if err := unix.Mount(dir, long, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %d: %w", n, err)
		}
	}
	return again(dir)
}

// What the agent may have. The limit of deploy/kubernetes is 256 MiB, with what the kernel's maps take.
const maxMemory = 224

// goesOn checks that the agent is there after an attack: it tells what others do, and has the memory that it is given.
func (s *subject) goesOn() {
	s.Helper()
	took := s.sees()
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.most()
	s.Logf("what another did was told after %v; the agent had %d MiB at most, its largest batch %d bytes; lost: %v", took, most, s.largest, s.lost)
	if most > maxMemory {
		s.Errorf("it had %d MiB, and may have %d", most, maxMemory)
	}
	if s.largest > 2<<20 {
		s.Errorf("a batch had %d bytes", s.largest)
	}
}

func TestAttacks(t *testing.T) {
	for _, what := range []string{"names", "arguments", "volume", "mounts"} {
		t.Run(what, func(t *testing.T) {
			s := start(t)
			s.attack(what)
			s.goesOn()
		})
	}
}
