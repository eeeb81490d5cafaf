// SPDX-License-Identifier: Apache-2.0

package losses

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/unit"
)

// envRole makes this program the one that does too much; its only argument is a directory.
const envRole = "SPOOR_TEST_LOSSES"

const (
	room     = 64  // facts of files, and of flows, that the agent has room for
	done     = 600 // files made, and listeners opened
	atLeast  = done - 4*room
	patience = time.Minute
)

func TestMain(m *testing.M) {
	if os.Getenv(envRole) != "" {
		if err := flood(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// flood makes files and listeners as fast as it can: each is a fact of its own.
func flood(dir string) error {
	for i := range done {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("x"), 0o600); err != nil {
			return err
		}
	}
	var open []net.Listener
	for range done {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		open = append(open, l)
	}
	for _, l := range open {
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// told sums up the losses of one workload, by source.
type told struct {
	mu     sync.Mutex
	name   string
	counts map[string]uint64
}

func (s *told) keep(ev *spoorv1.Event) {
	l := ev.GetLoss()
	if l == nil || l.GetReason() != "map_full" || ev.GetInstance().GetWorkload().GetName() != s.name {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[l.GetSource()] += l.GetCount()
}

func (s *told) of(source string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[source]
}

func TestLossesAreTheirsWhoDidTooMuch(t *testing.T) {
	name, fd := unit.New(t)
	s := &told{name: name, counts: map[string]uint64{}}
	w, err := watch.Start(t.Context(), agent.Options{Interval: 2 * time.Second, FileFacts: room, FlowFacts: room}, s.keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/proc/self/exe", t.TempDir())
	cmd.Env = append(os.Environ(), envRole+"=flood")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if s.of("file") >= atLeast && s.of("socket") >= atLeast {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %d losses of each kind at the least, of %s; told of %d of files, and %d of sockets",
				atLeast, s.name, s.of("file"), s.of("socket"))
		}
	}
}
