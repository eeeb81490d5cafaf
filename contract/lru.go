// SPDX-License-Identifier: Apache-2.0

package contract

import "iter"

// recent is a map that holds at most max entries and gives up the one that was not used for longest.
// Who gives a forget function is told of each entry that is given up for want of room.
type recent[K comparable, V any] struct {
	max int
	at  map[K]int32
	// Entries form a ring by their places here. At 0 are its ends: next was used last, prev is the next to go.
	entries []recentEntry[K, V]
	vacant  []int32
	forget  func(K, V)
	evicted uint64
}

type recentEntry[K comparable, V any] struct {
	key        K
	value      V
	prev, next int32
}

func newRecent[K comparable, V any](limit int, forget func(K, V)) *recent[K, V] {
	return &recent[K, V]{max: max(limit, 1), at: map[K]int32{}, entries: make([]recentEntry[K, V], 1), forget: forget}
}

func (r *recent[K, V]) len() int { return len(r.at) }

// get returns the value and makes it the last used.
func (r *recent[K, V]) get(key K) (V, bool) {
	i, ok := r.at[key]
	if !ok {
		var none V
		return none, false
	}
	if r.entries[0].next != i {
		r.unlink(i)
		r.link(i)
	}
	return r.entries[i].value, true
}

// peek returns the value, or none, and leaves it where it is.
func (r *recent[K, V]) peek(key K) (value V) {
	if i, ok := r.at[key]; ok {
		value = r.entries[i].value
	}
	return value
}

// put adds or replaces a value and makes it the last used.
func (r *recent[K, V]) put(key K, value V) {
	if i, ok := r.at[key]; ok {
		r.entries[i].value = value
		r.unlink(i)
		r.link(i)
		return
	}
	if len(r.at) >= r.max {
		oldest := r.entries[r.entries[0].prev]
		r.remove(oldest.key)
		r.evicted++
		if r.forget != nil {
			r.forget(oldest.key, oldest.value)
		}
	}
	i := int32(len(r.entries)) //nolint:gosec // limits are far below
	if n := len(r.vacant); n > 0 {
		i, r.vacant = r.vacant[n-1], r.vacant[:n-1]
	} else {
		r.entries = append(r.entries, recentEntry[K, V]{})
	}
	r.entries[i].key, r.entries[i].value = key, value
	r.at[key] = i
	r.link(i)
}

func (r *recent[K, V]) remove(key K) {
	if i, ok := r.at[key]; ok {
		r.unlink(i)
		delete(r.at, key)
		r.entries[i] = recentEntry[K, V]{}
		r.vacant = append(r.vacant, i)
	}
}

// all yields the last used first. The entry that was yielded may be removed meanwhile.
func (r *recent[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for i := r.entries[0].next; i != 0; {
			e := r.entries[i]
			i = e.next
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}

// link puts an entry in front.
func (r *recent[K, V]) link(i int32) {
	first := r.entries[0].next
	r.entries[i].prev, r.entries[i].next = 0, first
	r.entries[first].prev = i
	r.entries[0].next = i
}

func (r *recent[K, V]) unlink(i int32) {
	prev, next := r.entries[i].prev, r.entries[i].next
	r.entries[prev].next, r.entries[next].prev = next, prev
}
