// SPDX-License-Identifier: Apache-2.0

package contract

// recent is a map that holds at most max entries and gives up the one that was not used for longest.
// Who gives a forget function is told of each entry that is given up for want of room.
type recent[K comparable, V any] struct {
	max     int
	entries map[K]*recentEntry[K, V]
	// A ring: ends.next was used last, ends.prev is the next to go.
	ends    recentEntry[K, V]
	forget  func(K, V)
	evicted uint64
}

type recentEntry[K comparable, V any] struct {
	key        K
	value      V
	prev, next *recentEntry[K, V]
}

func newRecent[K comparable, V any](limit int, forget func(K, V)) *recent[K, V] {
	r := &recent[K, V]{max: max(limit, 1), entries: map[K]*recentEntry[K, V]{}, forget: forget}
	r.ends.prev, r.ends.next = &r.ends, &r.ends
	return r
}

func (r *recent[K, V]) len() int { return len(r.entries) }

// get returns the value and makes it the last used.
func (r *recent[K, V]) get(key K) (V, bool) {
	e, ok := r.entries[key]
	if !ok {
		var none V
		return none, false
	}
	if r.ends.next != e {
		e.unlink()
		r.link(e)
	}
	return e.value, true
}

// put adds or replaces a value and makes it the last used.
func (r *recent[K, V]) put(key K, value V) {
	if e, ok := r.entries[key]; ok {
		e.value = value
		e.unlink()
		r.link(e)
		return
	}
	if len(r.entries) >= r.max {
		oldest := r.ends.prev
		r.remove(oldest.key)
		r.evicted++
		if r.forget != nil {
			r.forget(oldest.key, oldest.value)
		}
	}
	e := &recentEntry[K, V]{key: key, value: value}
	r.entries[key] = e
	r.link(e)
}

func (r *recent[K, V]) remove(key K) {
	if e, ok := r.entries[key]; ok {
		e.unlink()
		delete(r.entries, key)
	}
}

func (r *recent[K, V]) link(e *recentEntry[K, V]) {
	e.prev, e.next = &r.ends, r.ends.next
	e.prev.next, e.next.prev = e, e
}

func (e *recentEntry[K, V]) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}
