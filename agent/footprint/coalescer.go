// SPDX-License-Identifier: Apache-2.0

// Package footprint keeps what each process has written and whom it has called, and decides when that is worth another
// event: at once when it is new, then ever more seldom while it goes on.
//
// It knows no kernel and no wire: keys and values are its caller's.
package footprint

import (
	"fmt"
	"iter"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
)

// Options of a Coalescer.
type Options[V any] struct {
	// How many keys are remembered. The one that was quiet longest is told and forgotten for a new one.
	Size int
	// The pause after the first event of a key; each event doubles it, up to Max.
	Min, Max time.Duration
	// How many bytes the values that wait may have, as Weigh says, where there is one. What there is no room for is told at once.
	Bytes int
	Weigh func(*V) int
	// Merge adds a later value to an earlier one.
	Merge func(into *V, later V)
}

// Coalescer merges values by key and hands each out when it is due. It is not safe for concurrent use.
type Coalescer[K comparable, V any] struct {
	o       Options[V]
	all     *lru.LRU[K, *entry[V]]
	pending map[K]*entry[V]
	bytes   int // of those
	evicted []evictee[K, V]
}

type entry[V any] struct {
	value V
	has   bool
	bytes int
	due   time.Time
	pause time.Duration
}

type evictee[K comparable, V any] struct {
	key   K
	value V
}

// New returns an empty Coalescer.
func New[K comparable, V any](o Options[V]) (*Coalescer[K, V], error) {
	c := &Coalescer[K, V]{o: o, pending: make(map[K]*entry[V])}
	var err error
	c.all, err = lru.NewLRU(o.Size, func(k K, e *entry[V]) {
		if e.has {
			c.evicted = append(c.evicted, evictee[K, V]{k, e.value})
			c.bytes -= e.bytes
			delete(c.pending, k)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("footprint of %d keys: %w", o.Size, err)
	}
	return c, nil
}

// Add merges value into what is kept for key. A key that was quiet for longer than its pause starts afresh.
func (c *Coalescer[K, V]) Add(now time.Time, key K, value V) {
	e, ok := c.all.Get(key)
	if !ok {
		e = &entry[V]{due: now}
		c.all.Add(key, e)
	}
	if e.has {
		c.o.Merge(&e.value, value)
		c.weigh(now, key, e)
		return
	}
	if now.Sub(e.due) > e.pause {
		e.pause, e.due = 0, now
	}
	e.value, e.has = value, true
	c.pending[key] = e
	c.weigh(now, key, e)
}

// weigh counts what waits in e. What there is no room for waits no longer.
func (c *Coalescer[K, V]) weigh(now time.Time, key K, e *entry[V]) {
	if c.o.Weigh == nil {
		return
	}
	c.bytes -= e.bytes
	e.bytes = c.o.Weigh(&e.value)
	if c.bytes += e.bytes; c.bytes > c.o.Bytes {
		c.evicted = append(c.evicted, evictee[K, V]{key, c.take(now, key, e)})
	}
}

// take takes out what waits in e, and says when the next is due.
func (c *Coalescer[K, V]) take(now time.Time, key K, e *entry[V]) V {
	value := e.value
	var none V
	e.value, e.has = none, false
	c.bytes -= e.bytes
	e.bytes = 0
	e.pause = min(max(2*e.pause, c.o.Min), c.o.Max)
	e.due = now.Add(e.pause)
	delete(c.pending, key)
	return value
}

// Due hands out what is due at now, and at once what urgent says (because its process ended, say). A nil urgent means
// everything. It forgets keys that were quiet for longer than their pause: they would start afresh.
func (c *Coalescer[K, V]) Due(now time.Time, urgent func(K) bool) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		c.forget(now)
		for len(c.evicted) > 0 {
			e := c.evicted[0]
			c.evicted = c.evicted[1:]
			if !yield(e.key, e.value) {
				return
			}
		}
		for k, e := range c.pending {
			if now.Before(e.due) && urgent != nil && !urgent(k) {
				continue
			}
			if !yield(k, c.take(now, k, e)) {
				return
			}
		}
	}
}

// forget goes through the keys in the order in which they were heard of last, up to one that is to be kept.
func (c *Coalescer[K, V]) forget(now time.Time) {
	for {
		k, e, ok := c.all.GetOldest()
		if !ok || e.has || now.Sub(e.due) <= e.pause {
			return
		}
		c.all.Remove(k)
	}
}

// SetMax changes the longest pause, for what is told from now on.
func (c *Coalescer[K, V]) SetMax(pause time.Duration) { c.o.Max = pause }

// Len returns how many keys are remembered.
func (c *Coalescer[K, V]) Len() int { return c.all.Len() }
