// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"slices"
	"sync"
)

// room is the memory for batches that are not durable yet. What is given back goes to who has least, not to who has waited longest:
// however many streams of busy nodes wait, a node that has nothing waits for one transaction at most.
type room struct {
	each, total int64

	mu      sync.Mutex
	used    int64
	held    map[nodeKey]int64 // of nodes that have some
	waiting []*claim          // oldest first; one a stream
}

type claim struct {
	key     nodeKey
	bytes   int64
	granted chan struct{}
}

func newRoom(each, total int64) *room {
	return &room{each: each, total: total, held: map[nodeKey]int64{}}
}

// take waits for n bytes, which must not be more than each. It calls wait before it does, with whose limit it is.
func (r *room) take(ctx context.Context, key nodeKey, n int64, wait func(reason string) (over func())) error {
	c := &claim{key: key, bytes: n, granted: make(chan struct{})}
	r.mu.Lock()
	own := r.held[key]+n > r.each
	r.waiting = append(r.waiting, c)
	r.grant()
	r.mu.Unlock()
	select {
	case <-c.granted:
		return nil
	default:
	}
	reason := slowedMemory
	if own {
		reason = slowedNodeMemory
	}
	defer wait(reason)()
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := slices.Index(r.waiting, c); at >= 0 {
		r.waiting = slices.Delete(r.waiting, at, at+1)
	} else {
		r.release(key, n)
	}
	r.grant() // who waited behind this one may fit
	return context.Cause(ctx)
}

// give returns what take has taken.
func (r *room) give(key nodeKey, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release(key, n)
	r.grant()
}

func (r *room) release(key nodeKey, n int64) {
	r.used -= n
	if r.held[key] -= n; r.held[key] == 0 {
		delete(r.held, key)
	}
}

// grant lets in whoever fits, who has least first. When that one does not fit, nobody overtakes it: a large batch among small
// ones would wait for ever.
func (r *room) grant() {
	for {
		next := -1
		for i, c := range r.waiting {
			if r.held[c.key]+c.bytes <= r.each && (next < 0 || r.held[c.key] < r.held[r.waiting[next].key]) {
				next = i
			}
		}
		if next < 0 || r.used+r.waiting[next].bytes > r.total {
			return
		}
		c := r.waiting[next]
		r.waiting = slices.Delete(r.waiting, next, next+1)
		r.used += c.bytes
		r.held[c.key] += c.bytes
		close(c.granted)
	}
}

func (r *room) bytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}
