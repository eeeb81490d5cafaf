// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spoor/spoor/collector/store"
)

// commitMetrics of a Committer.
type commitMetrics struct {
	events     *prometheus.CounterVec
	byKind     [store.KindCoverage + 1]prometheus.Counter
	batches    *prometheus.CounterVec
	duplicates prometheus.Counter
	overheard  prometheus.Counter
	seconds    prometheus.Histogram
	groups     prometheus.Histogram
	waited     prometheus.Histogram

	mu  sync.Mutex
	err error
}

func newCommitMetrics(reg prometheus.Registerer, c *Committer) (*commitMetrics, error) {
	m := &commitMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_events_total", Help: "Events that became durable, by kind.",
		}, []string{"kind"}),
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_batches_total",
			Help: "Batches by what became of them: committed, duplicate (had been committed before) or failed (the store could not take them; the agent sends them again).",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "spoor_collector_ingest_commit_seconds", Help: "How long a transaction took, with naming and judging.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "spoor_collector_ingest_commit_batches", Help: "How many batches and hellos went into a transaction.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "spoor_collector_ingest_wait_seconds", Help: "How long a batch or a hello waited for its turn to be in a transaction.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
	}
	m.overheard = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "spoor_collector_ingest_overheard_events_total", Help: "Events that other collectors of the same store have stored, and that were judged here, too.",
	})
	for k := range m.byKind {
		m.byKind[k] = m.events.WithLabelValues(store.Kind(k).String())
	}
	for _, result := range []string{"committed", "failed"} {
		m.batches.WithLabelValues(result)
	}
	m.duplicates = m.batches.WithLabelValues("duplicate")
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_ingest_waiting_batches", Help: "Batches that wait for their transaction.",
	}, func() float64 { return float64(c.queue.len()) })
	healthy := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_ingest_healthy", Help: "1 when the last transaction worked, 0 when events cannot be made durable.",
	}, func() float64 {
		if m.trouble() != nil {
			return 0
		}
		return 1
	})
	return m, errors.Join(reg.Register(m.events), reg.Register(m.batches), reg.Register(m.seconds), reg.Register(m.groups), reg.Register(m.waited),
		reg.Register(m.overheard), reg.Register(waiting), reg.Register(healthy))
}

func (m *commitMetrics) committed(group []*submission, took time.Duration, err error) {
	m.seconds.Observe(took.Seconds())
	m.groups.Observe(float64(len(group)))
	for _, s := range group {
		switch {
		case s.batch == nil || s.duplicate:
		case err != nil:
			m.batches.WithLabelValues("failed").Inc()
		default:
			m.batches.WithLabelValues("committed").Inc()
			for _, ev := range s.batch.Events {
				m.byKind[store.KindOf(ev)].Inc()
			}
		}
	}
}

func (m *commitMetrics) setTrouble(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *commitMetrics) trouble() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Limits that an agent can be slowed by.
const (
	slowedRate       = "rate"
	slowedNodeMemory = "node_memory"
	slowedMemory     = "memory"
)

// serviceMetrics of a Service.
type serviceMetrics struct {
	refused *prometheus.CounterVec
	slowed  *prometheus.CounterVec
	slowing *prometheus.GaugeVec
	ended   *prometheus.CounterVec
	bytes   prometheus.Counter
}

func newServiceMetrics(reg prometheus.Registerer, s *Service) (*serviceMetrics, error) {
	m := &serviceMetrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_refused_total", Help: "Messages of agents that were refused, by what was wrong with them.",
		}, []string{"reason"}),
		slowed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_slowed_seconds_total",
			Help: "How long streams of agents were not read, all streams together, because of a limit: the rate of the node, the memory of the node, or that of all nodes.",
		}, []string{"limit"}),
		slowing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spoor_collector_ingest_slowed_streams", Help: "Streams of agents that are not read now because of a limit.",
		}, []string{"limit"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_ended_streams_total",
			Help: "Streams of agents that have ended, by why: by the agent (closed), its connection (lost), a refusal, no hello in time, pushed out before its hello by too many others, answers that it did not read, a newer stream of its node, its certificate's end, the collector's stop, or a store that does not work (failed).",
		}, []string{"reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_received_bytes_total", Help: "Bytes of batches that agents sent, uncompressed.",
		}),
	}
	for _, r := range []string{
		reasonHello, reasonProtocol, reasonSize, reasonIndex, reasonSequence, reasonTime, reasonFact, reasonIdentity, reasonMessage, reasonMalformed,
	} {
		m.refused.WithLabelValues(r)
	}
	for _, r := range []string{endClosed, endLost, endRefused, endNoHello, endPushed, endUnread, endSuperseded, endExpired, endStopped, endFailed} {
		m.ended.WithLabelValues(r)
	}
	for _, r := range []string{slowedRate, slowedNodeMemory, slowedMemory} {
		m.slowed.WithLabelValues(r)
		m.slowing.WithLabelValues(r)
	}
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_ingest_connected_agents", Help: "Agents with a stream open.",
	}, func() float64 { return float64(s.sessions.count()) })
	superseded := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "spoor_collector_ingest_superseded_streams_total", Help: "Streams that were ended because the same node opened another one.",
	}, func() float64 { return float64(s.sessions.superseded.Load()) })
	greeting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_ingest_greeting_streams", Help: "Streams that have yet to say who they are.",
	}, func() float64 { return float64(s.anteroom.Count()) })
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_ingest_waiting_bytes", Help: "Bytes of batches that are not durable yet, as they came.",
	}, func() float64 { return float64(s.room.bytes()) })
	return m, errors.Join(reg.Register(m.refused), reg.Register(m.slowed), reg.Register(m.slowing), reg.Register(m.ended), reg.Register(greeting), reg.Register(m.bytes), reg.Register(connected), reg.Register(superseded), reg.Register(waiting))
}

// Why a stream ended.
const (
	endClosed     = "closed"
	endLost       = "lost"
	endRefused    = "refused"
	endNoHello    = "no_hello"
	endPushed     = "pushed_out"
	endUnread     = "unread"
	endSuperseded = "superseded"
	endExpired    = "expired"
	endStopped    = "stopped"
	endFailed     = "failed"
)

// endOf says why a stream ended with err. ctx is that of its request.
func endOf(ctx context.Context, err error) string {
	for _, e := range []struct {
		err    error
		reason string
	}{
		{errUnread, endUnread}, {errNoHello, endNoHello}, {errPushed, endPushed}, {errSuperseded, endSuperseded}, {errExpired, endExpired}, {ErrStopped, endStopped},
	} {
		if errors.Is(err, e.err) {
			return e.reason
		}
	}
	_, refused := errors.AsType[*RefusedError](err)
	_, wire := errors.AsType[*connect.Error](err)
	switch {
	case err == nil:
		return endClosed
	case refused, connect.CodeOf(err) == connect.CodeUnauthenticated:
		return endRefused
	case ctx.Err() != nil, wire:
		return endLost
	default:
		return endFailed
	}
}
