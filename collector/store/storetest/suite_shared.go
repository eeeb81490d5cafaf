// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// RunShared checks the promises of store.Shared, with a store that is opened several times at once.
func RunShared(t *testing.T, open Open) {
	t.Run("Ids", func(t *testing.T) { testIDs(t, open) })
	t.Run("Takeover", func(t *testing.T) { testTakeover(t, open) })
	t.Run("Order", func(t *testing.T) { testOrder(t, open) })
	t.Run("Others", func(t *testing.T) { testOthers(t, open) })
	t.Run("Attend", func(t *testing.T) { testAttend(t, open) })
}

// pair is two collectors of one store.
func pair(t *testing.T, open Open) (a, b *opened, first, second store.Shared) {
	t.Helper()
	a = begin(t, open)
	b = &opened{t: t, dir: a.dir, Store: open(t, a.dir)}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return a, b, a.Store.(store.Shared), b.Store.(store.Shared)
}

// give numbers the events of a batch, as a committer does.
func give(b *store.Batch, first uint64) {
	for i, ev := range b.Events {
		ev.Id = first + uint64(i)
	}
}

func beginFor(t *testing.T, s store.Shared, b *store.Batch) (acknowledged uint64) {
	t.Helper()
	first, known, err := s.Begin(t.Context(), []store.Batch{*b})
	if err != nil {
		t.Fatal(err)
	}
	give(b, first)
	return known[b.Run]
}

// testIDs: two collectors in turns give no id twice, and each sees what the other has written.
func testIDs(t *testing.T, open Open) {
	a, b, _, _ := pair(t, open)
	w := newWorld(20)
	var want []*spoorv1.Event
	for i := range 10 {
		s, run := a, 0
		if i%2 == 1 {
			s, run = b, 1
		}
		batch := w.batch(run, 7)
		if acknowledged := beginFor(t, s.Store.(store.Shared), &batch); acknowledged != batch.Sequence-1 {
			t.Fatalf("run %d: %d batches are durable, want %d", run, acknowledged, batch.Sequence-1)
		}
		s.write(&store.Write{Batches: []store.Batch{batch}})
		want = append(want, batch.Events...)
	}
	for _, s := range []*opened{a, b} {
		equalEvents(t, "events", s.all(store.EventQuery{Limit: 100}), want)
	}
}

// testTakeover: an agent goes from one collector, which has begun with its batch, to another with the same batch. It is stored once, whichever of
// them was quicker.
func testTakeover(t *testing.T, open Open) {
	a, b, first, second := pair(t, open)
	w := newWorld(21)
	one, two := w.batch(0, 5), w.batch(0, 5)
	beginFor(t, first, &one)
	again := w.copyOf(one)
	if acknowledged := beginFor(t, second, &again); acknowledged != 0 {
		t.Fatalf("%d batches are durable before any was written", acknowledged)
	}
	if err := a.Write(t.Context(), &store.Write{Batches: []store.Batch{one}}); err == nil {
		t.Fatal("a batch that another collector has taken over was written")
	}
	b.write(&store.Write{Batches: []store.Batch{again}})
	// And the other way round: it is durable before the other one begins.
	if acknowledged := beginFor(t, first, &two); acknowledged != 1 {
		t.Fatalf("%d batches are durable, want 1", acknowledged)
	}
	a.write(&store.Write{Batches: []store.Batch{two}})
	again = w.copyOf(two)
	if acknowledged := beginFor(t, second, &again); acknowledged != 2 {
		t.Fatalf("%d batches are durable, want 2", acknowledged)
	}
	b.write(&store.Write{Batches: []store.Batch{again}})
	for _, s := range []*opened{a, b} {
		if evs := s.all(store.EventQuery{Limit: 100}); len(evs) != 10 {
			t.Errorf("%d events, want 10", len(evs))
		}
		if stats, err := s.Stats(t.Context()); err != nil || stats.Events != 10 {
			t.Errorf("statistics: %+v (%v), want 10 events", stats, err)
		}
	}
}

// copyOf is a batch as it comes again.
func (w *world) copyOf(b store.Batch) store.Batch {
	events := make([]*spoorv1.Event, len(b.Events))
	for i, ev := range b.Events {
		events[i] = &spoorv1.Event{
			Sequence: ev.GetSequence(), Epoch: ev.GetEpoch(), Time: ev.GetTime(), Node: ev.GetNode(), Kind: ev.GetKind(), Instance: ev.GetInstance(),
			Process: ev.GetProcess(), Fact: ev.GetFact(),
		}
	}
	b.Events = events
	return b
}

// testOrder: what has lower ids and is still under way hides what has higher ones, so that who follows events misses nothing.
func testOrder(t *testing.T, open Open) {
	a, b, first, second := pair(t, open)
	w := newWorld(22)
	early, late := w.batch(0, 3), w.batch(1, 3)
	beginFor(t, first, &early)
	beginFor(t, second, &late)
	b.write(&store.Write{Batches: []store.Batch{late}})
	page, err := b.Events(t.Context(), store.EventQuery{Limit: 10})
	if err != nil || len(page.Events) != 0 || page.Through >= early.Events[0].GetId() {
		t.Fatalf("%d events through %d (%v), while %d is still under way", len(page.Events), page.Through, err, early.Events[0].GetId())
	}
	a.write(&store.Write{Batches: []store.Batch{early}})
	equalEvents(t, "events", b.all(store.EventQuery{Limit: 10}), append(early.Events, late.Events...))
}

// testOthers: each hears what the other has written, once, and not itself.
func testOthers(t *testing.T, open Open) {
	a, b, first, second := pair(t, open)
	w := newWorld(23)
	var want []*spoorv1.Event
	for range 3 {
		mine, theirs := w.batch(0, 4), w.batch(1, 6)
		beginFor(t, first, &mine)
		a.write(&store.Write{Batches: []store.Batch{mine}})
		beginFor(t, second, &theirs)
		b.write(&store.Write{Batches: []store.Batch{theirs}})
		want = append(want, theirs.Events...)
	}
	var heard []*spoorv1.Event
	after := uint64(0)
	for {
		batches, through, err := first.Others(t.Context(), after, 5)
		if err != nil {
			t.Fatal(err)
		}
		for _, batch := range batches {
			if batch.Run != w.runs[1] {
				t.Errorf("events of %v", batch.Run)
			}
			heard = append(heard, batch.Events...)
		}
		if through == after {
			break
		}
		after = through
	}
	equalEvents(t, "what the other has written", heard, want)
}

func testAttend(t *testing.T, open Open) {
	_, _, first, second := pair(t, open)
	now := time.Now().Truncate(time.Microsecond)
	n, m := store.Node{Cluster: "c", Name: "n"}, store.Node{Name: "m"}
	for i, s := range []store.Shared{first, second} {
		if err := s.Attend(t.Context(), []store.Node{n, m}[:i+1], now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Attend(t.Context(), nil, now); err != nil {
		t.Error(err)
	}
	seen, err := first.Attended(t.Context())
	if err != nil || len(seen) != 2 || !seen[n].Equal(now.Add(time.Second)) || !seen[m].Equal(now.Add(time.Second)) {
		t.Errorf("attended: %v (%v)", seen, err)
	}
}
