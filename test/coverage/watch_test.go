// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// recorder is the least that an agent ships to: it keeps every event in memory. What is looked at here is the kernel side
// and the agent; the collector has tests of its own.
type recorder struct {
	mu     sync.Mutex
	events []*spoorv1.Event
}

func (r *recorder) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		answer := &spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{}}}
		if b := m.GetBatch(); b != nil {
			r.keep(b)
			answer.Message = &spoorv1.ShipResponse_Acknowledge{Acknowledge: &spoorv1.Acknowledge{Sequence: b.GetSequence()}}
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

func (r *recorder) keep(b *spoorv1.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range b.GetRecords() {
		ev := &spoorv1.Event{Sequence: rec.GetSequence(), Time: timestamppb.New(time.Unix(0, int64(rec.GetTimeUnixNano())))}
		if n := rec.GetProcess(); n > 0 {
			ev.Process = b.GetProcesses()[n-1]
		}
		if n := rec.GetInstance(); n > 0 {
			ev.Instance = b.GetInstances()[n-1]
		}
		switch f := rec.GetFact().(type) {
		case *spoorv1.Record_ProcessStart:
			ev.Kind, ev.Fact = "process_start", &spoorv1.Event_ProcessStart{ProcessStart: f.ProcessStart}
		case *spoorv1.Record_ProcessExit:
			ev.Kind, ev.Fact = "process_exit", &spoorv1.Event_ProcessExit{ProcessExit: f.ProcessExit}
		case *spoorv1.Record_FileWrite:
			ev.Kind, ev.Fact = "file_write", &spoorv1.Event_FileWrite{FileWrite: f.FileWrite}
		case *spoorv1.Record_FileChange:
			ev.Kind, ev.Fact = "file_change", &spoorv1.Event_FileChange{FileChange: f.FileChange}
		case *spoorv1.Record_Flow:
			ev.Kind, ev.Fact = "flow", &spoorv1.Event_Flow{Flow: f.Flow}
		case *spoorv1.Record_Listen:
			ev.Kind, ev.Fact = "listen", &spoorv1.Event_Listen{Listen: f.Listen}
		case *spoorv1.Record_Share:
			ev.Kind, ev.Fact = "share", &spoorv1.Event_Share{Share: f.Share}
		case *spoorv1.Record_Loss:
			ev.Kind, ev.Fact = "loss", &spoorv1.Event_Loss{Loss: f.Loss}
		case *spoorv1.Record_Coverage:
			ev.Kind, ev.Fact = "coverage", &spoorv1.Event_Coverage{Coverage: f.Coverage}
		}
		r.events = append(r.events, ev)
	}
}

// told returns what the agent has told so far.
func (r *recorder) told() []*spoorv1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// watch runs an agent while do does something, and returns all that it told.
func watch(t *testing.T, do func(told func() []*spoorv1.Event)) []*spoorv1.Event {
	t.Helper()
	r := &recorder{}
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewAgentServiceHandler(r))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	a, err := agent.New(agent.Options{
		CollectorURL: "http://" + l.Addr().String(), Tier: tier(), Interval: 100 * time.Millisecond, MemoryInterval: 200 * time.Millisecond, DrainTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	do(r.told)
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	return r.told()
}
