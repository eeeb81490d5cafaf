// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// agent is a spoor-agent, as it is shipped.
type agent struct {
	testing.TB
	cmd *exec.Cmd
	log string
}

// startAgent starts one that reports to keep, which gets one batch at a time.
func startAgent(t testing.TB, keep func(*spoorv1.Batch), args ...string) *agent {
	t.Helper()
	a := &agent{TB: t, log: filepath.Join(t.TempDir(), "agent.log")}
	receiver, err := watch.Receive(keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := receiver.Close(); err != nil {
			t.Error(err)
		}
	})
	out, err := os.Create(a.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a.cmd = exec.Command("../../bin/spoor-agent", append([]string{"--collector", receiver.URL(), "--pin", "off"}, args...)...)
	a.cmd.Stdout, a.cmd.Stderr = out, out
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			_ = a.cmd.Process.Kill()
			_ = a.cmd.Wait()
		}
	})
	return a
}

// stop ends it after it told everything.
func (a *agent) stop() {
	a.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.Fatal(err)
	}
	if err := a.cmd.Wait(); err != nil {
		said, _ := os.ReadFile(a.log)
		a.Fatalf("the agent: %v; it said:\n%s", err, said)
	}
}
