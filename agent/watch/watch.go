// SPDX-License-Identifier: Apache-2.0

// Package watch runs an agent and hands on every event that it tells, over the real wire: for the self-test, and for tests
// and benchmarks. What is looked at is the kernel side and the agent; a collector is not part of it.
package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Watch is an agent that runs and what it ships to.
type Watch struct {
	keep     func(*spoorv1.Event)
	agent    *agent.Agent
	receiver *Receiver
	stop     context.CancelFunc
	ran      chan error
}

// Start runs an agent; keep gets its events, one at a time. Options.CollectorURL is filled in.
func Start(ctx context.Context, o agent.Options, keep func(*spoorv1.Event)) (*Watch, error) {
	w := &Watch{keep: keep, ran: make(chan error, 1)}
	var err error
	if w.receiver, err = Receive(w.expand); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	o.CollectorURL = w.receiver.URL()
	if w.agent, err = agent.New(o); err != nil {
		return nil, errors.Join(err, w.receiver.Close())
	}
	ctx, w.stop = context.WithCancel(ctx)
	go func() { w.ran <- w.agent.Run(ctx) }()
	return w, nil
}

// Coverage says what each sensor can see.
func (w *Watch) Coverage() []*spoorv1.Coverage { return w.agent.Coverage() }

// Stop ends the agent, after it told everything.
func (w *Watch) Stop() error {
	w.stop()
	return errors.Join(<-w.ran, w.receiver.Close())
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
