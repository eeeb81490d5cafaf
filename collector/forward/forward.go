// SPDX-License-Identifier: Apache-2.0

// Package forward brings what a collector has stored to another one, exactly once in effect.
//
// To the other collector it is many agents: one stream for each node, with the name, the epoch and the numbers of the agent that told
// it. Events have those numbers in the store, so the store is the spool: what the other side has of a run it says in its
// welcome, and everything after that is sent. What is kept besides, how far everybody has come, only spares reading again.
//
// It must not know who judges events or who asks for them.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

const (
	// Events that are read, and under way, at a time.
	pageEvents = 5000
	// Nodes whose events are sent at a time.
	nodesAtOnce = 64
	// How long it is waited for more, after something became durable here: a batch costs the other side more than its events.
	gather = 200 * time.Millisecond
	// How often it is looked which agents are connected.
	attendEvery = 2 * time.Second
	// How long a node that the other side refuses is left alone.
	asideFor = time.Minute

	minBackoff, maxBackoff = 200 * time.Millisecond, 15 * time.Second
)

// Source is what is forwarded: a store.
type Source interface {
	LastID(ctx context.Context) (uint64, error)
	Runs(ctx context.Context) ([]store.RunStatus, error)
	Events(ctx context.Context, q store.EventQuery) (*store.EventPage, error)
	EventsByID(ctx context.Context, ids []uint64) ([]*spoorv1.Event, error)
}

// Options of New. All are required but TLS.
type Options struct {
	Source Source
	// Connected says whether the agent of a node is connected here.
	Connected func(cluster, node string) bool
	// Changed returns a channel that is closed when the next events are durable.
	Changed func() <-chan struct{}
	// URL of the other collector.
	URL string
	// TLS says how connections to an https URL are secured. It is asked before each; another number means that another
	// configuration, with renewed certificates, is to be used.
	TLS func() (config *tls.Config, version uint64)
	// MarkFile is where it is written down how far everybody has come.
	MarkFile string

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Forwarder sends events on, from its Run.
type Forwarder struct {
	o       Options
	metrics *metrics
	lines   *lines

	// What follows belongs to Run.
	at       mark
	runs     map[runKey]*run
	attended time.Time
}

// runKey is how an event names the run that it is of.
type runKey struct{ node, epoch string }

// run is a run, as the store knows it.
type run struct {
	store.RunStatus
	// latest of its node.
	latest bool
}

// New returns a Forwarder that has yet to Run.
func New(o Options) (*Forwarder, error) {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Source", o.Source == nil},
		{"Connected", o.Connected == nil},
		{"Changed", o.Changed == nil},
		{"URL", o.URL == ""},
		{"MarkFile", o.MarkFile == ""},
		{"Logger", o.Logger == nil},
		{"Registerer", o.Registerer == nil},
	} {
		if f.missing {
			return nil, fmt.Errorf("forward: option %s is missing", f.name)
		}
	}
	if o.TLS == nil {
		o.TLS = func() (*tls.Config, uint64) { return nil, 1 }
	}
	f := &Forwarder{o: o}
	var err error
	f.metrics, err = newMetrics(o.Registerer)
	f.lines = newLines(o.URL, o.TLS, f.metrics)
	return f, err
}

// Run forwards until ctx ends. It returns nil: another collector that cannot be reached is a state, not an error.
func (f *Forwarder) Run(ctx context.Context) error {
	defer f.lines.closeAll()
	backoff, healthy, resumed := minBackoff, true, false
	for ctx.Err() == nil {
		changed := f.o.Changed() // before it is looked for what there is
		var more bool
		var err error
		if !resumed {
			err = f.resume(ctx)
			resumed = err == nil
		}
		if err == nil {
			more, err = f.step(ctx)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.metrics.healthy.Set(0)
			if healthy {
				f.o.Logger.Warn("events cannot be forwarded now; they stay in the store, and are sent when they can be", "to", f.o.URL, "error", err)
			}
			healthy = false
			f.lines.closeAll()
			pause(ctx, backoff/2+rand.N(backoff/2), nil) //nolint:gosec // jitter
			backoff = min(2*backoff, maxBackoff)
		default:
			f.metrics.healthy.Set(1)
			if !healthy {
				f.o.Logger.Info("events are forwarded again", "to", f.o.URL)
			}
			backoff, healthy = minBackoff, true
			if !more {
				pause(ctx, attendEvery, changed)
				pause(ctx, gather, nil)
			}
		}
	}
	return nil
}

// pause waits for so long, or until something happens.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-early:
	}
}

// step forwards a page of events, and says whether there are more.
func (f *Forwarder) step(ctx context.Context) (more bool, err error) {
	if err := f.attend(ctx); err != nil {
		return false, err
	}
	page, err := f.o.Source.Events(ctx, store.EventQuery{AfterID: f.at.ID, Limit: pageEvents})
	if err != nil {
		return false, fmt.Errorf("read what is to be forwarded: %w", err)
	}
	nodes, err := f.split(ctx, page.Events)
	if err != nil {
		return false, err
	}
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(nodesAtOnce)
	for node, segments := range nodes {
		group.Go(func() error {
			// One after the other: a node has one stream at a time.
			for _, s := range segments {
				if err := f.bring(sending, s); err != nil {
					return err
				}
			}
			// Whose agent is not connected here must not look like it there.
			f.lines.closeIf(node, func(l *line) bool { return !l.live })
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	if n := len(page.Events); n > 0 {
		f.at = markOf(page.Events[n-1])
		if err := f.at.save(f.o.MarkFile); err != nil {
			f.o.Logger.Error("it cannot be written down how far events have been forwarded; after a restart more is read again", "error", err)
		}
	}
	last, err := f.o.Source.LastID(ctx)
	if err != nil {
		return false, err
	}
	f.metrics.waiting.Set(float64(last - min(last, f.at.ID)))
	return page.More, nil
}

// segment is what one run has told in a row.
type segment struct {
	run    *run
	events []*spoorv1.Event
}

// split sorts events by node, and those of a node by run, in their order.
func (f *Forwarder) split(ctx context.Context, events []*spoorv1.Event) (map[nodeKey][]*segment, error) {
	nodes := map[nodeKey][]*segment{}
	for _, ev := range events {
		key := runKey{ev.GetNode(), ev.GetEpoch()}
		r := f.runs[key]
		if r == nil {
			// It began since the runs were read.
			if err := f.readRuns(ctx); err != nil {
				return nil, err
			}
			if r = f.runs[key]; r == nil {
				return nil, fmt.Errorf("event %d is of the run %s of node %s, which the store does not know", ev.GetId(), key.epoch, key.node)
			}
		}
		node := nodeKey{r.Cluster, r.Node}
		segments := nodes[node]
		if n := len(segments); n == 0 || segments[n-1].run.Run != r.Run {
			nodes[node] = append(segments, &segment{run: r})
		}
		last := nodes[node][len(nodes[node])-1]
		last.events = append(last.events, ev)
	}
	return nodes, nil
}

func (f *Forwarder) readRuns(ctx context.Context) error {
	all, err := f.o.Source.Runs(ctx)
	if err != nil {
		return fmt.Errorf("read whose events are to be forwarded: %w", err)
	}
	f.runs = make(map[runKey]*run, len(all))
	latest := map[nodeKey]*run{}
	for i := range all {
		r := &run{RunStatus: all[i]}
		f.runs[runKey{r.Node, r.Epoch}] = r
		latest[nodeKey{r.Cluster, r.Node}] = r // the latest comes last
	}
	for _, r := range latest {
		r.latest = true
	}
	return nil
}

// live reports whether the agent of a run is connected here.
func (f *Forwarder) live(r *run) bool { return r.latest && f.o.Connected(r.Cluster, r.Node) }

// attend lets the other side know which agents are connected: those have a stream, whether they tell anything or not.
func (f *Forwarder) attend(ctx context.Context) error {
	if time.Since(f.attended) < attendEvery {
		return nil
	}
	if err := f.readRuns(ctx); err != nil {
		return err
	}
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(nodesAtOnce)
	for _, r := range f.runs {
		if !r.latest {
			continue
		}
		if !f.live(r) {
			f.lines.closeIf(nodeKey{r.Cluster, r.Node}, func(l *line) bool { return l.live })
			continue
		}
		group.Go(func() error {
			_, err := f.lines.of(opening, r, true)
			return f.setAside(r, 0, err)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	f.attended = time.Now()
	return nil
}

// bring sends what the other side does not have of a segment, and returns when it has.
func (f *Forwarder) bring(ctx context.Context, s *segment) error {
	events := s.events
	for {
		l, err := f.lines.of(ctx, s.run, f.live(s.run))
		if err != nil {
			return f.setAside(s.run, len(events), err)
		}
		for len(events) > 0 && events[0].GetSequence() <= l.acknowledged {
			events = events[1:]
		}
		if len(events) == 0 {
			return nil
		}
		f.metrics.forgotten.Add(float64(events[0].GetSequence() - l.acknowledged - 1))
		err = l.ship(ctx, pack(events))
		if err == nil {
			continue // to find that nothing is left
		}
		f.lines.closeIf(nodeKey{s.run.Cluster, s.run.Node}, func(other *line) bool { return other == l })
		refused, isBatch := errors.AsType[*refusedBatch](err)
		if !isBatch {
			return fmt.Errorf("forward events of node %s: %w", s.run.Node, err)
		}
		// Nothing behind it would arrive otherwise. The other side tells the jump in the numbers as a gap.
		left := events
		for len(left) > 0 && left[0].GetSequence() <= refused.batch.GetSequence() {
			left = left[1:]
		}
		f.metrics.refused.Add(float64(len(refused.batch.GetRecords())))
		f.o.Logger.Error("the other collector refuses a batch: it is given up", "cluster", s.run.Cluster, "node", s.run.Node, "events", len(refused.batch.GetRecords()), "error", err)
		if events = left; len(events) == 0 {
			return nil
		}
	}
}

// setAside takes a refusal of a node as it is: the events of others must not wait for it. Any other error is returned.
func (f *Forwarder) setAside(r *run, events int, err error) error {
	refused, ok := errors.AsType[*refusedNode](err)
	if !ok {
		return err
	}
	f.metrics.refused.Add(float64(events))
	if refused.first {
		f.o.Logger.Error("the other collector refuses a node; its events are not forwarded, and the other side will tell of the gap",
			"cluster", r.Cluster, "node", r.Node, "error", refused.err)
	}
	return nil
}
