// SPDX-License-Identifier: Apache-2.0

package joints

import (
	"bufio"
	"context"
	"fmt"
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
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/unit"
)

func TestMain(m *testing.M) {
	if role := roles[os.Getenv(envRole)]; role != nil {
		if err := role(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, os.Getenv(envRole), err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lab starts processes in cgroups of their own.
type lab struct {
	*testing.T
	dir, abstract string
	names         map[int]string // of processes, by tgid
}

// cgroup makes one, and returns an open descriptor of it.
func (l *lab) cgroup() int {
	l.Helper()
	_, fd := unit.New(l)
	return fd
}

// start runs a process called name, and returns when it is ready.
func (l *lab) start(name, role string, cgroup int, pair *os.File, flags uintptr) {
	l.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(l.Context()), "/proc/self/exe", l.dir, l.abstract)
	cmd.Env, cmd.Stderr = append(os.Environ(), envRole+"="+role), os.Stderr
	if pair != nil {
		cmd.ExtraFiles = []*os.File{pair}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroup, Cloneflags: flags}
	in, err := cmd.StdinPipe()
	if err != nil {
		l.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	l.names[cmd.Process.Pid] = name
	l.Cleanup(func() {
		if err := in.Close(); err != nil {
			l.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			l.Errorf("%s: %v", name, err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		l.Fatalf("%s says %q, %v", name, line, err)
	}
}

// told collects joints as "one - other by name"; processes are known by their exec ids once they were told.
type told struct {
	mu    sync.Mutex
	tgids map[string]int // by exec id
	all   []*spoorv1.Event
	// listeners that were told of, and not yet that they closed, by address.
	listening map[string]int
}

func (s *told) keep(ev *spoorv1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := ev.GetProcess(); p != nil {
		s.tgids[p.GetExecId()] = int(p.GetTgid())
	}
	if l := ev.GetListen(); l != nil {
		at := l.GetLocal().GetAddress()
		if l.GetTransport() == spoorv1.Transport_TRANSPORT_RAW {
			at = fmt.Sprintf("protocol %d at %s", l.GetIpProtocol(), at)
		}
		if l.GetClosed() {
			s.listening[at]--
		} else {
			s.listening[at]++
		}
	}
	if ev.GetShare().GetKind() == spoorv1.Share_KIND_SOCKET {
		s.all = append(s.all, ev)
	}
}

// among returns the joints of the lab's processes.
func (s *told) among(l *lab) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, ev := range s.all {
		one, two := l.names[int(ev.GetProcess().GetTgid())], l.names[s.tgids[ev.GetShare().GetOtherExecId()]]
		if one != "" && two != "" {
			found = append(found, fmt.Sprintf("%s - %s by %q", one, two, ev.GetShare().GetFile().GetPath()))
		}
	}
	slices.Sort(found)
	return found
}

func (s *told) file(path string) *spoorv1.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.all {
		if f := ev.GetShare().GetFile(); f.GetPath() == path {
			return f
		}
	}
	return nil
}

// await looks until every address has that many listeners.
func (s *told) await(t *testing.T, listeners int, addresses ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		s.mu.Lock()
		counts, right := fmt.Sprint(s.listening), true
		for _, a := range addresses {
			right = right && s.listening[a] == listeners
		}
		s.mu.Unlock()
		if right {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %d listeners at each of %q; told of %s", listeners, addresses, counts)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// watched starts an agent that looks often, and returns a lab of processes and what is told of them.
func watched(t *testing.T) (*lab, *told) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &told{tgids: map[string]int{}, listening: map[string]int{}}
	w, err := watch.Start(t.Context(), agent.Options{Interval: 100 * time.Millisecond, UnixInterval: 200 * time.Millisecond}, s.keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &lab{T: t, dir: dir, abstract: fmt.Sprintf("@spoor-joints-%d", os.Getpid()), names: map[int]string{}}, s
}

func TestListenersAreTold(t *testing.T) {
	l, s := watched(t)
	addresses := []string{l.dir + "/stream", l.abstract, fmt.Sprintf("protocol %d at 0.0.0.0", experimental)}
	t.Run("begin", func(t *testing.T) {
		inner := *l
		inner.T = t
		service := inner.cgroup()
		inner.start("server", "server", service, os.Stdin, 0)
		s.await(t, 1, addresses...)
		inner.start("neighbour", "streamer", service, nil, 0) // connects, and listens nowhere
		s.await(t, 1, addresses...)
	})
	s.await(t, 0, addresses...)
}

func TestConnectionsBetweenInstancesAreTold(t *testing.T) {
	l, s := watched(t)
	dir := l.dir
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair := [2]*os.File{os.NewFile(uintptr(fds[0]), "pair"), os.NewFile(uintptr(fds[1]), "pair")}
	service, caller, stranger := l.cgroup(), l.cgroup(), l.cgroup()
	l.start("server", "server", service, pair[0], 0)
	l.start("client", "client", caller, pair[1], 0)
	for _, f := range pair {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.start("neighbour", "streamer", service, nil, 0) // of the same instance as the server
	l.start("stranger", "streamer", stranger, nil, syscall.CLONE_NEWNET)

	var want []string
	for _, name := range []string{dir + "/stream", dir + "/datagrams", l.abstract, ""} {
		want = append(want, fmt.Sprintf("client - server by %q", name), fmt.Sprintf("server - client by %q", name))
	}
	want = append(want, fmt.Sprintf("stranger - server by %q", dir+"/stream"), fmt.Sprintf("server - stranger by %q", dir+"/stream"))
	slices.Sort(want)
	deadline := time.Now().Add(time.Minute)
	for !slices.Equal(s.among(l), want) {
		if time.Now().After(deadline) {
			t.Fatalf("told:\n%s\nwant:\n%s", strings.Join(s.among(l), "\n"), strings.Join(want, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/stream", &st); err != nil {
		t.Fatal(err)
	}
	if f := s.file(dir + "/stream"); f.GetInode() != st.Ino || f.GetFsType() == "" || f.GetStorageClass() == 0 {
		t.Errorf("the socket's file is %v, want inode %d, a file system and a storage class", f, st.Ino)
	}
}
