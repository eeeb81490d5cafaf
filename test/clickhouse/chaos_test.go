// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/clickhouse"
)

// kills is how often a collector is killed: SPOOR_KILLS, or a few times.
func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SPOOR_KILLS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SPOOR_KILLS: %v", err)
	}
	return n
}

// TestTwoCollectors has agents speak through a balancer with two collectors that share nothing but ClickHouse, kills one of those at random,
// again and again, and cuts connections, so that agents are now here and now there. In the end each event is there, once.
func TestTwoCollectors(t *testing.T) {
	a := database(t, t.TempDir())
	const collectors = 2
	b := newBalancer(t, collectors)
	centres := make([]*centre, collectors)
	start := func(i int) {
		t.Helper()
		var err error
		if centres[i], err = startCentre(a); err != nil {
			t.Fatal(err)
		}
		b.set(i, centres[i].addr)
	}
	for i := range centres {
		start(i)
	}
	var agents []*shipper
	for i := range 6 {
		agents = append(agents, newShipper(t, fmt.Sprint("n", i), b.url()))
	}
	begun := time.Now()
	for range kills(t) {
		// Any time is as good as another: that is the test.
		for until := time.Now().Add(300*time.Millisecond + rand.N(1500*time.Millisecond)); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			for _, s := range agents {
				s.tell(t)
			}
			if rand.IntN(40) == 0 {
				b.cut(0.3)
			}
		}
		victim := rand.IntN(collectors)
		if err := centres[victim].kill(); err != nil {
			t.Fatal(err)
		}
		start(victim)
	}
	tormented := time.Since(begun)
	told := map[string]uint64{}
	for _, s := range agents {
		s.arrive(t)
		told[s.epoch] = s.told
	}
	rest := time.Since(begun) - tormented
	for _, c := range centres {
		c.end(t)
	}
	all, missing, doubled := count(t, a, told)
	t.Logf("%d kills in %s, and %s to bring the rest: %d events told, missing %d, doubled %d; %s", kills(t), tormented.Round(time.Second), rest.Round(time.Second),
		all, missing, doubled, transactions(t, a))
	if missing != 0 || doubled != 0 || all == 0 {
		t.Error("that is not each of them once")
	}
}

// count looks at each event: each run must be there without a gap, and what is summed up must fit.
func count(t *testing.T, a *clickhouse.Address, told map[string]uint64) (all, missing, doubled uint64) {
	t.Helper()
	s := open(t, a)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	seen := map[string]map[uint64]bool{}
	stored, flows := uint64(0), uint64(0)
	q := store.EventQuery{Limit: 10_000}
	for more := true; more; {
		page, err := s.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			stored++
			flows += uint64(ev.GetFlow().GetOpened())
			epoch, n := ev.GetEpoch(), ev.GetSequence()
			if seen[epoch] == nil {
				seen[epoch] = map[uint64]bool{}
			}
			if seen[epoch][n] {
				doubled++
			}
			seen[epoch][n] = true
			demand(t, ev)
		}
		more, q.AfterID = page.More, page.Through
	}
	for epoch, last := range told {
		all += last
		missing += last - uint64(len(seen[epoch]))
	}
	stats, err := s.Stats(t.Context())
	if err != nil || stats.Events != stored {
		t.Errorf("the store counts %d events (%v), there are %d", stats.Events, err, stored)
	}
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
	if gaps, err := s.Gaps(t.Context(), time.Time{}, time.Time{}); err != nil || len(gaps) != 0 {
		t.Errorf("gaps: %v (%v)", gaps, err)
	}
	return all, missing, doubled
}

// demand: each event must say the same of itself in its number and in its content.
func demand(t *testing.T, ev *spoorv1.Event) {
	t.Helper()
	epoch, n := ev.GetEpoch(), ev.GetSequence()
	if f := ev.GetFlow(); f != nil {
		if n%8 != 0 || len(f.GetClientPorts()) != 1 || f.GetClientPorts()[0] != port(n) {
			t.Errorf("event %d of %s is the flow %v", n, epoch, f)
		}
	} else if got := ev.GetFileWrite().GetFile().GetPath(); got != path(epoch, n) {
		t.Errorf("event %d of %s is a write to %q", n, epoch, got)
	}
}

// transactions says what came of them.
func transactions(t *testing.T, a *clickhouse.Address) string {
	t.Helper()
	ask := func(statement string) string {
		t.Helper()
		answer, err := shared.Do(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(answer)
	}
	ledger := a.Database + ".ledger FINAL"
	return fmt.Sprintf("%s transactions of %s collectors committed, %s were aborted, with %s events in the table that do not count",
		ask("SELECT count() FROM "+ledger+" WHERE kind = 'outcome' AND label = 'committed'"),
		ask("SELECT uniqExact(label) FROM "+ledger+" WHERE kind = 'begin'"),
		ask("SELECT count() FROM "+ledger+" WHERE kind = 'aborted'"),
		ask("SELECT count() FROM "+a.Database+".event WHERE txn IN (SELECT txn FROM "+a.Database+".ledger WHERE kind = 'aborted')"))
}
