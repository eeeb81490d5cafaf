// SPDX-License-Identifier: Apache-2.0

package trail

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spoor/spoor/agent/act"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/test/scene"
)

func TestMain(m *testing.M) {
	act.Main()
	os.Exit(m.Run())
}

// patience is more than anything here takes, also on an emulated machine.
const patience = 2 * time.Minute

// up is one `spoor up` that runs.
type up struct {
	t       *testing.T
	args    []string
	address string // where the collector listens
	cmd     *exec.Cmd
	ended   chan error
	output  *scene.Transcript
	ask     spoorv1connect.QueryServiceClient
}

// program is the binary that `make build` left.
func program(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/spoor")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no bin/spoor: run make build first (%v)", err)
	}
	return path
}

// startUp starts `spoor up` on a free port and waits until its agent reports.
func startUp(t *testing.T, args ...string) *up {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	u := &up{
		t: t, address: address, args: append([]string{"up", "--quiet", "--data", t.TempDir(), "--listen", address}, args...),
		ask: spoorv1connect.NewQueryServiceClient(http.DefaultClient, "http://"+address),
	}
	u.start()
	t.Cleanup(func() {
		if u.cmd != nil {
			u.stop()
		}
	})
	return u
}

func (u *up) start() {
	u.t.Helper()
	u.output = &scene.Transcript{}
	u.cmd = exec.Command(program(u.t), u.args...)
	u.cmd.Stdout, u.cmd.Stderr = u.output, u.output
	if err := u.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(u.cmd, u.ended)
	u.until("the agent reports", func() string {
		status, err := u.ask.GetStatus(u.t.Context(), connect.NewRequest(&spoorv1.GetStatusRequest{}))
		if err != nil {
			return err.Error()
		}
		for _, a := range status.Msg.GetAgents() {
			if a.GetConnected() && len(a.GetCoverage()) > 0 {
				return ""
			}
		}
		return "no agent is connected"
	})
}

// until waits until missing returns "".
func (u *up) until(what string, missing func() string) {
	u.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		why := missing()
		if why == "" {
			return
		}
		select {
		case err := <-u.ended:
			u.cmd = nil
			u.t.Fatalf("spoor up ended (%v) before %s:\n%s", err, what, u.output)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("%s: not within %s: %s\nspoor up said:\n%s", what, patience, why, u.output)
		}
	}
}

// stop ends the program as Ctrl-C does.
func (u *up) stop() {
	u.t.Helper()
	if err := u.cmd.Process.Signal(os.Interrupt); err != nil {
		u.t.Fatal(err)
	}
	select {
	case err := <-u.ended:
		if err != nil {
			u.t.Errorf("spoor up after Ctrl-C: %v\n%s", err, u.output)
		}
	case <-time.After(patience):
		u.t.Errorf("spoor up did not end after Ctrl-C:\n%s", u.output)
		u.kill()
	}
	u.cmd = nil
}

// kill ends the program without letting it do anything about it.
func (u *up) kill() {
	u.t.Helper()
	if err := u.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		u.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := <-u.ended; !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	u.cmd = nil
}

// events returns every event that matches, page by page.
func (u *up) events(ctx context.Context, filter *spoorv1.EventFilter) []*spoorv1.Event {
	u.t.Helper()
	all, err := scene.Events(ctx, u.ask, filter)
	if err != nil {
		u.t.Fatal(err)
	}
	return all
}

// spoor runs a command of the command line against this collector.
func (u *up) spoor(wantExit int, args ...string) string {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), program(u.t), args...)
	cmd.Env = append(os.Environ(), "SPOOR_COLLECTOR=http://"+u.address, "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != wantExit {
		u.t.Fatalf("spoor %s: exit code %d, want %d:\n%s", strings.Join(args, " "), got, wantExit, out)
	}
	return string(out)
}
