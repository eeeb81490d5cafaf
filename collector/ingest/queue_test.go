// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

func waits(node string, sequence uint64, events int) *submission {
	return &submission{batch: &store.Batch{Run: store.Run{Node: node}, Sequence: sequence, Events: make([]*spoorv1.Event, events)}}
}

// order takes n times, and says what came as "a1 a2 b1".
func order(q *queue, n int) string {
	var got []string
	for range n {
		s := q.take(-1)
		if s == nil {
			got = append(got, "none")
			continue
		}
		got = append(got, fmt.Sprint(s.run().Node, s.batch.Sequence))
	}
	return strings.Join(got, " ")
}

func expectOrder(t *testing.T, q *queue, want string) {
	t.Helper()
	if got := order(q, strings.Count(want, " ")+1); got != want {
		t.Errorf("taken: %s\nwant:  %s", got, want)
	}
}

// TestQueueTakesTurns: nodes have turns of as many events, each keeps its own order.
func TestQueueTakesTurns(t *testing.T) {
	q := newQueue()
	for n := range uint64(4) {
		q.put(waits("large", n+1, 2*quantum))
		q.put(waits("small", n+1, quantum))
	}
	expectOrder(t, q, "large1 small1 small2 large2 small3 small4 large3 large4 none")
	if q.len() != 0 || len(q.byNode) != 0 {
		t.Errorf("%d wait, %d nodes are kept", q.len(), len(q.byNode))
	}
}

// TestQueueTakesTheQuietFirst: who had nothing waiting comes next, but not again and again.
func TestQueueTakesTheQuietFirst(t *testing.T) {
	q := newQueue()
	for n := range uint64(8) {
		q.put(waits("flood", n+1, quantum))
		q.put(waits("flood2", n+1, quantum))
	}
	expectOrder(t, q, "flood1 flood21 flood2")
	q.put(waits("quiet", 1, 5))
	q.put(waits("quiet", 2, 5))
	expectOrder(t, q, "quiet1 quiet2 flood22 flood3")
	// One that pretends to be quiet, with another batch whenever it has been taken from, has its turns like the others.
	taken := map[string]int{}
	q.put(waits("sly", 1, quantum))
	for n := range uint64(9) {
		node := strings.Trim(order(q, 1), "0123456789")
		taken[node]++
		if node == "sly" {
			q.put(waits("sly", n+2, quantum))
		}
	}
	if taken["sly"] > 4 {
		t.Errorf("taken: %v", taken)
	}
}

// TestQueueBounds: what is larger than the rest of a transaction stays, and who it is of keeps its turn.
func TestQueueBounds(t *testing.T) {
	q := newQueue()
	q.put(waits("a", 1, 10))
	q.put(waits("a", 2, 3000))
	q.put(waits("b", 1, 10))
	if s := q.take(-1); s.batch.Sequence != 1 {
		t.Errorf("took %d", s.batch.Sequence)
	}
	if s := q.take(2000); s != nil {
		t.Errorf("took %s%d of %d events, with 2000 at most", s.run().Node, s.batch.Sequence, s.events())
	}
	expectOrder(t, q, "a2 b1 none")
	if s := q.take(0); s != nil {
		t.Error("took something of nothing")
	}
}
