// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"log/slog"
	"maps"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// counted is what is in a store.
type counted struct {
	onDisk, stored, missing, doubled uint64
	last                             map[string]uint64 // by epoch
}

// openStore opens the store that a collector left; done closes it.
func openStore(t *testing.T, data string) (s *sqlite.Store, done func()) {
	t.Helper()
	s, err := sqlite.Open(sqlite.Options{Dir: data, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s, func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// count looks at each event of a store: each run must be there without a gap, up to what it had on disk at least, and what is
// summed up must fit.
func count(t *testing.T, data string, nodes []string, onDisk map[string]uint64, look func(*testing.T, *spoorv1.Event)) counted {
	t.Helper()
	s, done := openStore(t, data)
	defer done()
	c := counted{last: maps.Clone(onDisk)}
	seen := map[string]map[uint64]bool{}
	for _, node := range nodes {
		q := store.EventQuery{Node: node, Limit: 10_000}
		for more := true; more; {
			page, err := s.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range page.Events {
				epoch, n := ev.GetEpoch(), ev.GetSequence()
				if seen[epoch] == nil {
					seen[epoch] = map[uint64]bool{}
				}
				if seen[epoch][n] {
					c.doubled++
				}
				seen[epoch][n] = true
				c.last[epoch] = max(c.last[epoch], n)
				look(t, ev)
			}
			more, q.AfterID = page.More, page.Through
		}
	}
	for epoch, last := range c.last {
		c.onDisk += onDisk[epoch]
		c.stored += uint64(len(seen[epoch]))
		c.missing += last - uint64(len(seen[epoch]))
	}
	stats, err := s.Stats(t.Context())
	if err != nil || stats.Events != c.stored+c.doubled {
		t.Errorf("the store counts %d events (%v), there are %d", stats.Events, err, c.stored+c.doubled)
	}
	return c
}

// sums checks that what is summed up at ingest fits the events, and that no gap was noticed.
func sums(t *testing.T, data string, flows uint64) {
	t.Helper()
	s, done := openStore(t, data)
	defer done()
	edges, err := s.Edges(t.Context(), store.EdgeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	opened := uint64(0)
	for _, e := range edges {
		opened += e.GetOpened()
	}
	if opened != flows {
		t.Errorf("the edges sum up %d connections, the events tell of %d", opened, flows)
	}
	if gaps, err := s.Gaps(t.Context(), store.Period{}); err != nil || len(gaps) != 0 {
		t.Errorf("gaps: %v (%v)", gaps, err)
	}
}
