// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

const insertEvent = `INSERT INTO event (id, time, kind, run, sequence, instance, process, file, peer, other, first, last,
	a, b, c, d, e, f, rest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// Write implements store.Writer.
func (s *Store) Write(ctx context.Context, in *store.Write) error {
	durable, err := s.WriteAhead(ctx, in)
	if err != nil {
		return err
	}
	return durable()
}

// WriteAhead implements store.Ahead.
func (s *Store) WriteAhead(ctx context.Context, in *store.Write) (durable func() error, err error) {
	if err := s.changeAhead(ctx, func(w *writer) error { return w.write(in) }); err != nil {
		return nil, fmt.Errorf("write to the store: %w", err)
	}
	return s.sync, nil
}

func (w *writer) write(in *store.Write) error {
	for i := range in.Runs {
		if err := w.hello(&in.Runs[i]); err != nil {
			return err
		}
	}
	b := batchWriter{w: w, minutes: map[int64][2]uint64{}, rollup: rollup{}}
	for i := range in.Batches {
		if err := b.batch(&in.Batches[i]); err != nil {
			return fmt.Errorf("batch %d of node %s: %w", in.Batches[i].Sequence, in.Batches[i].Run.Node, err)
		}
	}
	for _, n := range in.Named {
		if err := b.name(n); err != nil {
			return fmt.Errorf("name the peer of event %d: %w", n.GetId(), err)
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	for i := range in.Findings {
		if err := w.finding(&in.Findings[i], in.Receivers); err != nil {
			return fmt.Errorf("finding %s: %w", in.Findings[i].Finding.GetId(), err)
		}
	}
	return nil
}

// batchWriter gathers what is written once per transaction instead of once per event.
type batchWriter struct {
	w       *writer
	minutes map[int64][2]uint64 // lowest and highest id
	rollup  rollup
	lastID  uint64
	events  int
}

func (b *batchWriter) batch(in *store.Batch) error {
	w := b.w
	run, err := w.run(in.Run, in.Received.UnixNano())
	if err != nil {
		return err
	}
	if in.Sequence <= run.acknowledged {
		return nil
	}
	last := run.lastSequence
	memo := pointerMemo{instances: map[*spoorv1.Instance]int64{}, processes: map[processMemo]int64{}}
	for _, ev := range in.Events {
		if err := b.event(run, ev, &memo); err != nil {
			return fmt.Errorf("event %d: %w", ev.GetSequence(), err)
		}
		if seq := ev.GetSequence(); seq > last {
			if seq > last+1 {
				if err := w.do("INSERT OR IGNORE INTO gap (run, first, last, time) VALUES (?, ?, ?, ?)",
					run.id, last+1, seq-1, ev.GetTime().AsTime().UnixNano()); err != nil {
					return err
				}
			}
			last = seq
		}
	}
	newest := uint64(0)
	if n := len(in.Events); n > 0 {
		newest = in.Events[n-1].GetId()
	}
	if err := w.do(`UPDATE run SET acknowledged = ?, last_sequence = ?, last_event = max(last_event, ?), last_seen = max(last_seen, ?), skew = ?
		WHERE id = ?`, in.Sequence, last, newest, in.Received.UnixNano(), int64(in.Skew), run.id); err != nil {
		return err
	}
	run.acknowledged, run.lastSequence = in.Sequence, last
	return nil
}

// pointerMemo spares the look at the content of an entity that the event before named by the same pointer.
type pointerMemo struct {
	instances map[*spoorv1.Instance]int64
	processes map[processMemo]int64
}

type processMemo struct {
	process  *spoorv1.Process
	instance int64
}

func (b *batchWriter) event(run *runState, ev *spoorv1.Event, memo *pointerMemo) error {
	w := b.w
	t, err := nanos(ev.GetTime())
	if err != nil {
		return err
	}
	instance, ok := memo.instances[ev.GetInstance()]
	if !ok {
		if instance, err = w.instance(run.node, ev.GetInstance()); err != nil {
			return err
		}
		memo.instances[ev.GetInstance()] = instance
	}
	process, ok := memo.processes[processMemo{ev.GetProcess(), instance}]
	if !ok {
		if process, err = w.process(run.node, instance, ev.GetProcess(), ev.GetId()); err != nil {
			return err
		}
		memo.processes[processMemo{ev.GetProcess(), instance}] = process
	}
	kind := store.KindOf(ev)
	var r row
	if err := w.encode(run.node, ev, &r); err != nil {
		return err
	}
	st, err := w.stmt(insertEvent)
	if err != nil {
		return err
	}
	st.BindInt64(1, int64(ev.GetId()))
	st.BindInt64(2, t.v)
	st.BindInt64(3, int64(kind))
	st.BindInt64(4, run.id)
	st.BindInt64(5, int64(ev.GetSequence()))
	bindNull(st, 6, instance)
	bindNull(st, 7, process)
	bindNull(st, 8, r.file)
	bindNull(st, 9, r.peer)
	bindNull(st, 10, r.other)
	bindInterval(st, 11, r.first, t.v-r.first.v)
	bindInterval(st, 12, r.last, t.v-r.last.v)
	for i, n := range r.n {
		st.BindInt64(13+i, n)
	}
	if r.rest == nil {
		st.BindNull(19)
	} else {
		st.BindBytes(19, r.rest)
	}
	if _, err := st.Step(); err != nil {
		return err
	}
	if err := st.Reset(); err != nil {
		return err
	}
	b.lastID = max(b.lastID, ev.GetId())
	b.events++
	m, ok := b.minutes[store.FloorDiv(t.v, minuteNanos)]
	if !ok {
		m = [2]uint64{ev.GetId(), ev.GetId()}
	}
	b.minutes[store.FloorDiv(t.v, minuteNanos)] = [2]uint64{min(m[0], ev.GetId()), max(m[1], ev.GetId())}
	return b.effects(run, ev, kind, process, t.v)
}

// effects keeps what is known beyond the event itself: exits, coverage and edges.
func (b *batchWriter) effects(run *runState, ev *spoorv1.Event, kind store.Kind, process, t int64) error {
	switch kind {
	case store.KindProcessExit:
		if process == 0 {
			return nil
		}
		x := ev.GetProcessExit()
		return b.w.do("UPDATE process SET exit_time = ?, exit_code = ?, exit_signal = ? WHERE id = ?", t, x.GetExitCode(), x.GetSignal(), process)
	case store.KindCoverage:
		return b.w.coverage(run.id, ev.GetCoverage(), t)
	case store.KindFlow:
		other, err := b.w.workload(ev.GetFlow().GetPeer().GetWorkload())
		if err != nil {
			return err
		}
		return b.w.addFlow(b.rollup, ev, other, 1)
	}
	return nil
}

const minuteNanos = int64(60e9)

func bindInterval(st *sqlite.Stmt, param int, o optional, delta int64) {
	if o.ok {
		st.BindInt64(param, delta)
	} else {
		st.BindNull(param)
	}
}

func (b *batchWriter) flush() error {
	for minute, ids := range b.minutes {
		if err := b.w.do(`INSERT INTO minute (minute, first, last) VALUES (?, ?, ?)
			ON CONFLICT (minute) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)`,
			minute, ids[0], ids[1]); err != nil {
			return err
		}
	}
	if b.lastID > 0 {
		if err := b.w.do("UPDATE meta SET value = max(value, ?) WHERE key = 'last_id'", b.lastID); err != nil {
			return err
		}
		if err := b.w.do("UPDATE meta SET value = value + ? WHERE key = 'events'", b.events); err != nil {
			return err
		}
	}
	return b.w.flushRollup(b.rollup)
}

// name puts the other end of a stored flow into its row and moves the flow to the edge that it now belongs to.
func (b *batchWriter) name(ev *spoorv1.Event) error {
	w, peer := b.w, ev.GetFlow().GetPeer()
	before, found, err := w.find("SELECT coalesce((SELECT workload FROM party WHERE id = event.other), 0) FROM event WHERE id = ? AND peer IS NOT NULL", ev.GetId())
	if err != nil || !found {
		return err // forgotten since, or not a flow with ends
	}
	if err := w.addFlow(b.rollup, ev, before, -1); err != nil {
		return err
	}
	party, err := w.party(peer.GetWorkload(), peer.GetExecId())
	if err != nil {
		return err
	}
	if err := w.do("UPDATE event SET other = ? WHERE id = ?", null(party), ev.GetId()); err != nil {
		return err
	}
	now, err := w.workload(peer.GetWorkload())
	if err != nil {
		return err
	}
	return w.addFlow(b.rollup, ev, now, 1)
}
