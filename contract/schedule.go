// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"container/heap"
	"time"
)

// timed is something that waits for a moment: a file for its greatest age, a held flow for its grace, a verdict for its
// clearance.
type timed interface {
	when() *alarm
	// expire is called once, by Tick, after the moment has come.
	expire(j *Judge)
}

// alarm is the part of a timed value that the queue looks at; the zero value waits for nothing.
type alarm struct {
	at time.Time
	// 1 + position in the queue, 0 outside of it.
	position int
}

func (a *alarm) when() *alarm { return a }

// schedule is a queue of timed values, the earliest first. It holds a value at most once, so it is as bounded as
// what it holds.
type schedule struct{ queue timedHeap }

func (s *schedule) set(v timed, at time.Time) {
	t := v.when()
	t.at = at
	if t.position == 0 {
		heap.Push(&s.queue, v)
		return
	}
	heap.Fix(&s.queue, t.position-1)
}

func (s *schedule) cancel(v timed) {
	if t := v.when(); t.position > 0 {
		heap.Remove(&s.queue, t.position-1)
	}
}

// due takes the earliest value whose moment is not after now.
func (s *schedule) due(now time.Time) (timed, bool) {
	if len(s.queue) == 0 || s.queue[0].when().at.After(now) {
		return nil, false
	}
	return heap.Pop(&s.queue).(timed), true
}

type timedHeap []timed

func (h timedHeap) Len() int           { return len(h) }
func (h timedHeap) Less(i, k int) bool { return h[i].when().at.Before(h[k].when().at) }

func (h timedHeap) Swap(i, k int) {
	h[i], h[k] = h[k], h[i]
	h[i].when().position, h[k].when().position = i+1, k+1
}

func (h *timedHeap) Push(v any) {
	t := v.(timed)
	*h = append(*h, t)
	t.when().position = len(*h)
}

func (h *timedHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	last.when().position = 0
	return last
}
