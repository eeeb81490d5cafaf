// SPDX-License-Identifier: Apache-2.0

// Package chaos_test kills agents, the collector and what is between them, at random, under load, and counts event by event
// what arrived: nothing that an agent had on disk may be missing, and nothing may be there twice.
package chaos_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// kills is how often each process is killed: SPOOR_KILLS, or a few times.
func kills(t *testing.T) int {
	t.Helper()
	if os.Getenv("SPOOR_KILLS") == "" {
		return 3
	}
	n, err := strconv.Atoi(os.Getenv("SPOOR_KILLS"))
	if err != nil {
		t.Fatalf("SPOOR_KILLS: %v", err)
	}
	return n
}

// witness remembers what agents said that they have on disk, and that was acknowledged.
type witness struct {
	mu                   sync.Mutex
	onDisk, acknowledged map[string]uint64 // by epoch: the last record
}

func newWitness() *witness {
	return &witness{onDisk: map[string]uint64{}, acknowledged: map[string]uint64{}}
}

func (w *witness) hear(line string) {
	var epoch string
	var last, acknowledged uint64
	if _, err := fmt.Sscan(line, &epoch, &last, &acknowledged); err != nil {
		return // it was killed in the middle of a line; a number that is cut short is a lower one
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onDisk[epoch] = max(w.onDisk[epoch], last)
	w.acknowledged[epoch] = max(w.acknowledged[epoch], acknowledged)
}

// heard is how many events were acknowledged to agents that lived to say so.
func (w *witness) heard() (all uint64) {
	for _, n := range w.acknowledged {
		all += n
	}
	return all
}

// TestChaos kills three agents, a proxy that cuts, delays and reorders connections, and the collector, all at the same
// time. In the end everything that an agent had on disk is in the store, once, and the sums fit.
func TestChaos(t *testing.T) {
	dir := t.TempDir()
	data := folder(t, dir, "data")
	url, inherited := front(t)
	w := newWitness()
	nodes := []string{"a", "b", "c"}
	victims := append([]*victim{collectorOf("collector", part{Dir: data}), proxyTo(data, inherited)}, agentsOf(dir, url, nodes, 200*time.Millisecond, w)...)
	begun := time.Now()
	tormentAll(t, kills(t), victims)
	tormented := time.Since(begun)

	last := startAll(t, victims) // what is left is brought to its end
	endAll(t, last[2:], true)
	endAll(t, last[:2], false)
	ended := time.Since(begun) - tormented
	c := judge(t, data, nodes, w, victims)
	t.Logf("in %s, and %s to bring the rest: %d runs of agents had %d events on disk, %d acknowledged while they lived; stored %d, missing %d, doubled %d",
		tormented.Round(time.Second), ended.Round(time.Second), len(w.onDisk), c.onDisk, w.heard(), c.stored, c.missing, c.doubled)
}

func folder(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// judge looks at what a collector has in the end: each event that an agent had on disk, once, and sums that fit.
func judge(t *testing.T, data string, nodes []string, w *witness, victims []*victim) counted {
	t.Helper()
	flows := uint64(0)
	c := count(t, data, nodes, w.onDisk, func(t *testing.T, ev *spoorv1.Event) {
		t.Helper()
		demand(t, ev)
		flows += uint64(ev.GetFlow().GetOpened())
	})
	sums(t, data, flows)
	for _, v := range victims {
		t.Logf("%s: killed %d times", v.name, v.kills)
	}
	if c.missing != 0 || c.doubled != 0 || c.stored < c.onDisk || c.onDisk == 0 {
		t.Error("that is not each of them once")
	}
	return c
}

// demand looks at each event: each must say the same of itself in its number and in its content.
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
