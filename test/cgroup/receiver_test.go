// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// agent is a spoor-agent, as it is shipped, and what it ships to.
type agent struct {
	testing.TB
	keep func(b *spoorv1.Batch)
	cmd  *exec.Cmd
	log  string
}

// startAgent starts one that reports to keep, which gets one batch at a time.
func startAgent(t testing.TB, keep func(*spoorv1.Batch), args ...string) *agent {
	t.Helper()
	a := &agent{TB: t, keep: keep, log: filepath.Join(t.TempDir(), "agent.log")}
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewAgentServiceHandler(a))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	out, err := os.Create(a.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a.cmd = exec.Command("../../bin/spoor-agent", append([]string{"--collector", "http://" + l.Addr().String(), "--pin", "off"}, args...)...)
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

// Ship implements spoorv1connect.AgentServiceHandler.
func (a *agent) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		answer := &spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{}}}
		if b := m.GetBatch(); b != nil {
			a.keep(b)
			answer.Message = &spoorv1.ShipResponse_Acknowledge{Acknowledge: &spoorv1.Acknowledge{Sequence: b.GetSequence()}}
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}
