// SPDX-License-Identifier: Apache-2.0

// Package watch runs an agent and hands on every event that it tells, over the real wire: for the self-test, and for tests
// and benchmarks. What is looked at is the kernel side and the agent; a collector is not part of it.
package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// Watch is an agent that runs and what it ships to.
type Watch struct {
	keep   func(*spoorv1.Event)
	agent  *agent.Agent
	server *http.Server
	served chan error
	stop   context.CancelFunc
	ran    chan error
}

// Start runs an agent; keep gets its events, one at a time. Options.CollectorURL is filled in.
func Start(ctx context.Context, o agent.Options, keep func(*spoorv1.Event)) (*Watch, error) {
	w := &Watch{keep: keep, served: make(chan error, 1), ran: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewAgentServiceHandler(w))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	w.server = &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	go func() { w.served <- w.server.Serve(l) }()

	o.CollectorURL = "http://" + l.Addr().String()
	a, err := agent.New(o)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.agent = a
	ctx, w.stop = context.WithCancel(ctx)
	go func() { w.ran <- a.Run(ctx) }()
	return w, nil
}

// Coverage says what each sensor can see.
func (w *Watch) Coverage() []*spoorv1.Coverage { return w.agent.Coverage() }

// Stop ends the agent, after it told everything.
func (w *Watch) Stop() error {
	w.stop()
	return errors.Join(<-w.ran, w.close())
}

func (w *Watch) close() error {
	err := w.server.Close()
	if served := <-w.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Ship implements spoorv1connect.AgentServiceHandler.
func (w *Watch) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		answer := &spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{}}}
		if b := m.GetBatch(); b != nil {
			w.expand(b)
			answer.Message = &spoorv1.ShipResponse_Acknowledge{Acknowledge: &spoorv1.Acknowledge{Sequence: b.GetSequence()}}
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

func (w *Watch) expand(b *spoorv1.Batch) {
	for _, rec := range b.GetRecords() {
		when := time.Unix(0, int64(rec.GetTimeUnixNano())) //nolint:gosec // this century
		ev := &spoorv1.Event{Sequence: rec.GetSequence(), Time: timestamppb.New(when)}
		if n := rec.GetProcess(); n > 0 {
			ev.Process = b.GetProcesses()[n-1]
		}
		if n := rec.GetInstance(); n > 0 {
			ev.Instance = b.GetInstances()[n-1]
		}
		ev.TakeFact(rec)
		ev.Kind = ev.FactName()
		w.keep(ev)
	}
}
