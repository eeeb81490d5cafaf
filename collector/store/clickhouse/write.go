// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Begin implements store.Shared.
func (s *Store) Begin(ctx context.Context, batches []store.Batch) (first uint64, acknowledged map[store.Run]uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.reserve(ctx, &store.Write{Batches: batches}, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("begin to write to the store: %w", err)
	}
	acknowledged = map[store.Run]uint64{}
	for i := range batches {
		run, err := s.run(ctx, batches[i].Run)
		if err != nil {
			return 0, nil, fmt.Errorf("begin to write to the store: %w", err)
		}
		acknowledged[batches[i].Run] = run.Acknowledged
	}
	return t.first, acknowledged, nil
}

// reserve begins the transaction of the next write, whose events need ids up to through, where that is known.
func (s *Store) reserve(ctx context.Context, w *store.Write, through uint64) (*transaction, error) {
	s.abandon()
	claims := make([]claim, 0, len(w.Runs)+len(w.Batches))
	for i := range w.Runs {
		claims = append(claims, claim{run: runKey(w.Runs[i].Run)})
	}
	events := uint64(0)
	for i := range w.Batches {
		claims = append(claims, claim{runKey(w.Batches[i].Run), w.Batches[i].Sequence})
		events += uint64(len(w.Batches[i].Events))
	}
	if through > s.newest.id {
		events = through - s.newest.id
	}
	t, err := s.begin(ctx, claims, events)
	if err != nil {
		return nil, err
	}
	s.reserved = t
	s.active[t.txn] = true
	if events > 0 {
		s.own = append(s.own, *t)
		if len(s.own) > maxOwn {
			s.own = slices.Delete(s.own, 0, len(s.own)-maxOwn)
		}
	}
	return t, nil
}

// maxOwn bounds what is remembered for Others: at ten transactions a second, those of more than ten minutes.
const maxOwn = 8192

// abandon gives up what was reserved and not written: the next transaction aborts it.
func (s *Store) abandon() {
	if s.reserved != nil {
		delete(s.active, s.reserved.txn)
		s.reserved = nil
	}
}

// Write implements store.Writer. Events are inserted first, where nobody sees them; then one block makes them visible, and with them all that
// follows.
func (s *Store) Write(ctx context.Context, w *store.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.abandon()
	if err := s.write(ctx, w); err != nil {
		// What is kept in memory may or may not be durable.
		s.runs.Purge()
		s.hours.forget()
		return fmt.Errorf("write to the store: %w", err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, w *store.Write) error {
	if err := check(w); err != nil {
		return err
	}
	t, err := s.reservedFor(ctx, w)
	if err != nil {
		return err
	}
	o := &writing{Store: s, ctx: ctx, txn: t, rows: &ledgerRows{}, events: newEventRows(), touched: map[string]*runState{}}
	for i := range w.Runs {
		if err := o.hello(&w.Runs[i]); err != nil {
			return err
		}
	}
	for i := range w.Batches {
		if err := o.batch(&w.Batches[i]); err != nil {
			return fmt.Errorf("batch %d of node %s: %w", w.Batches[i].Sequence, w.Batches[i].Run.Node, err)
		}
	}
	if err := o.names(w.Named); err != nil {
		return fmt.Errorf("name the peers of flows: %w", err)
	}
	if err := o.findings(w.Findings, w.Receivers); err != nil {
		return err
	}
	if err := o.flush(); err != nil {
		return err
	}
	if o.events.rows > 0 {
		// Of all that is inserted only this is large. Its order is that of the table, so the server need not sort.
		if _, err := s.client.do(ctx, "INSERT INTO "+s.layout.table("event")+" ("+eventColumns+") FORMAT RowBinary", o.events.b, s.inserting("events/"+number(t.txn))); err != nil {
			return err
		}
	}
	return s.commit(ctx, t, o.rows)
}

// check refuses what cannot be stored before it takes ids: those of a transaction that fails are not given again.
func check(w *store.Write) error {
	for i := range w.Batches {
		for _, ev := range w.Batches[i].Events {
			if _, err := store.Nanos(ev.GetTime()); err != nil {
				return fmt.Errorf("batch %d of node %s: event %d: %w", w.Batches[i].Sequence, w.Batches[i].Run.Node, ev.GetSequence(), err)
			}
		}
	}
	for i := range w.Findings {
		f := w.Findings[i].Finding
		for _, t := range []*timestamppb.Timestamp{f.GetFirstSeen(), f.GetLastSeen(), f.GetStateChanged()} {
			if _, err := store.Nanos(t); err != nil {
				return fmt.Errorf("finding %s: %w", f.GetId(), err)
			}
		}
	}
	return nil
}

// reservedFor returns the transaction that Begin has begun for w, or another one.
func (s *Store) reservedFor(ctx context.Context, w *store.Write) (*transaction, error) {
	lowest, highest := ^uint64(0), uint64(0)
	for i := range w.Batches {
		for _, ev := range w.Batches[i].Events {
			lowest, highest = min(lowest, ev.GetId()), max(highest, ev.GetId())
		}
	}
	covered := func(t *transaction) bool {
		for i := range w.Batches {
			if !slices.Contains(t.batches, claim{runKey(w.Batches[i].Run), w.Batches[i].Sequence}) {
				return false
			}
		}
		for i := range w.Runs {
			if !slices.ContainsFunc(t.batches, func(c claim) bool { return c.run == runKey(w.Runs[i].Run) }) {
				return false
			}
		}
		return highest == 0 || lowest >= t.first && highest <= t.last
	}
	if s.reserved != nil && covered(s.reserved) {
		return s.reserved, nil
	}
	return s.reserve(ctx, w, highest)
}

// writing is one transaction while it is put together.
type writing struct {
	*Store
	ctx     context.Context // of one Write
	txn     *transaction
	rows    *ledgerRows
	events  *eventRows
	touched map[string]*runState
	sums    []hourChange
}

func (o *writing) batch(b *store.Batch) error {
	run, err := o.touch(b.Run)
	if err != nil {
		return err
	}
	if b.Sequence <= run.Acknowledged {
		return nil
	}
	if n := len(b.Events); n > 0 && (b.Events[0].GetId() < o.txn.first || b.Events[n-1].GetId() > o.txn.last) {
		return fmt.Errorf("its events have ids from %d to %d, and %d to %d are free: the ids were given to somebody else", b.Events[0].GetId(), b.Events[n-1].GetId(), o.txn.first, o.txn.last)
	}
	for _, ev := range b.Events {
		if err := o.event(b, run, ev); err != nil {
			return fmt.Errorf("event %d: %w", ev.GetSequence(), err)
		}
	}
	run.Acknowledged = b.Sequence
	run.Skew = b.Skew
	run.Seen = later(run.Seen, b.Received)
	return nil
}

func (o *writing) event(b *store.Batch, run *runState, ev *spoorv1.Event) error {
	if err := o.events.add(o.txn.txn, b, ev); err != nil {
		return err
	}
	t := ev.GetTime().AsTime()
	if n := ev.GetSequence(); n > run.LastSequence {
		if n > run.LastSequence+1 {
			o.rows.add(ledgerRow{
				kind: "gap", key: joinKey(b.Run.Cluster, b.Run.Node, b.Run.Epoch, number(run.LastSequence+1)), expires: o.kept(b.Received),
				first: run.LastSequence + 1, last: n - 1, time: t.UnixNano(),
			})
		}
		run.LastSequence = n
	}
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_Coverage:
		run.cover(f.Coverage, t)
	case *spoorv1.Event_Flow:
		o.sums = appendFlow(o.sums, ev, 1)
	}
	return nil
}

// names puts who is at the other end of stored flows into the ledger, and moves them to the edges to which they now belong.
func (o *writing) names(named []*spoorv1.Event) error {
	if len(named) == 0 {
		return nil
	}
	ids := make([]uint64, len(named))
	for i, n := range named {
		ids[i] = n.GetId()
	}
	flows, err := o.eventsByID(o.ctx, ids)
	if err != nil {
		return err
	}
	at := map[uint64]*spoorv1.Event{}
	for _, ev := range flows {
		at[ev.GetId()] = ev
	}
	for _, n := range named {
		ev, peer := at[n.GetId()], n.GetFlow().GetPeer()
		if ev.GetFlow().GetPeer() == nil {
			continue // forgotten since, or not a flow with ends
		}
		body, err := proto.Marshal(&spoorv1.Endpoint{Workload: peer.GetWorkload(), ExecId: peer.GetExecId()})
		if err != nil {
			return err
		}
		doc, err := workloadDoc(peer.GetWorkload(), peer.GetExecId())
		if err != nil {
			return err
		}
		o.rows.add(ledgerRow{kind: "name", key: number(n.GetId()), version: o.txn.txn, expires: o.kept(ev.GetTime().AsTime()), txn: o.txn.txn, body: body, doc: doc})
		o.sums = appendFlow(o.sums, ev, -1)
		ev.GetFlow().GetPeer().Workload, ev.GetFlow().GetPeer().ExecId = peer.GetWorkload(), peer.GetExecId()
		o.sums = appendFlow(o.sums, ev, 1)
	}
	return nil
}

// flush adds what was gathered.
func (o *writing) flush() error {
	for key, run := range o.touched {
		if err := o.rows.run(key, run, o.txn.txn); err != nil {
			return err
		}
		o.Store.runs.Add(key, run)
	}
	return o.hours.flush(o, o.sums)
}
