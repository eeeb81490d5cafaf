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
		agents = append(agents, newShipper(t, i, b.url()))
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
	c := count(t, a, told)
	t.Logf("%d kills in %s, and %s to bring the rest: %d events told, missing %d, doubled %d; of %d flows %d name their peer; %s", kills(t), tormented.Round(time.Second),
		rest.Round(time.Second), c.told, c.missing, c.doubled, c.flows, c.named, transactions(t, a))
	if c.missing != 0 || c.doubled != 0 || c.told == 0 {
		t.Error("that is not each of them once")
	}
	// Who was killed forgets which of its flows wait for a name; but for those, all have one.
	if c.named < c.flows/2 {
		t.Errorf("only %d of %d flows name their peer", c.named, c.flows)
	}
}

// counted is what is in the store.
type counted struct{ told, missing, doubled, flows, named uint64 }

// count looks at each event: each run must be there without a gap, and what is summed up must fit.
func count(t *testing.T, a *clickhouse.Address, told map[string]uint64) (c counted) {
	t.Helper()
	s := open(t, a)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	seen := map[string]map[uint64]bool{}
	stored := uint64(0)
	sides := map[bool]uint64{} // by whether they name who called, or was called: connections
	q := store.EventQuery{Limit: 10_000}
	for more := true; more; {
		page, err := s.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			stored++
			if f := ev.GetFlow(); f != nil {
				c.flows++
				if f.GetPeer().GetWorkload() != nil {
					c.named++
				}
				sides[f.GetPeer().GetWorkload() != nil] += uint64(f.GetOpened())
			}
			epoch, n := ev.GetEpoch(), ev.GetSequence()
			if seen[epoch] == nil {
				seen[epoch] = map[uint64]bool{}
			}
			if seen[epoch][n] {
				c.doubled++
			}
			seen[epoch][n] = true
			demand(t, ev)
		}
		more, q.AfterID = page.More, page.Through
	}
	for epoch, last := range told {
		c.told += last
		c.missing += last - uint64(len(seen[epoch]))
	}
	stats, err := s.Stats(t.Context())
	if err != nil || stats.Events != stored {
		t.Errorf("the store counts %d events (%v), there are %d", stats.Events, err, stored)
	}
	edges, err := s.Edges(t.Context(), store.EdgeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	// Each side adds up for itself: where both ends are known, both tell of the same.
	summed := map[bool]uint64{}
	for _, e := range edges {
		both := e.GetFrom().GetWorkload() != nil && e.GetTo().GetWorkload() != nil
		summed[both] += e.GetOpened()
	}
	callers := edgesOf(t, a)
	for both, connections := range sides {
		if callers[both] != connections {
			t.Errorf("the edges sum up %d connections (named: %v), the events tell of %d", callers[both], both, connections)
		}
		if summed[both] > connections {
			t.Errorf("an answer sums up %d connections (named: %v), the events tell of %d", summed[both], both, connections)
		}
	}
	if gaps, err := s.Gaps(t.Context(), store.Period{}); err != nil || len(gaps) != 0 {
		t.Errorf("gaps: %v (%v)", gaps, err)
	}
	return c
}

// edgesOf sums up what the sides of edges tell, by whether both ends are named.
func edgesOf(t *testing.T, a *clickhouse.Address) map[bool]uint64 {
	t.Helper()
	answer, err := shared.Do(t.Context(), "SELECT from_workload != '' AND to_workload != '', toUInt64(sum(opened)) FROM "+a.Database+".edges GROUP BY 1")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[bool]uint64{}
	for line := range strings.Lines(answer) {
		var both int
		var n uint64
		if _, err := fmt.Sscan(line, &both, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sums[both == 1] = n
	}
	return sums
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
