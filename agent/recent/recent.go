// SPDX-License-Identifier: Apache-2.0

// Package recent remembers what there was of late: as much as was said, and, where that was said too, not for longer than it is of use.
//
// It is for what an agent remembers of ten thousands of files: the list of an LRU cache takes three times the memory of what
// is in it. A Map has two generations instead. What is put into it or asked for is in the young one; when that is full, or has its age,
// it becomes the old one, and what was old is forgotten.
package recent

import "time"

// Map remembers at least the last half of size keys, and at most size, each for at least age after it was used last, and at most
// until the Map is used twice that time after. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	young, old map[K]V
	half       int
	age        time.Duration
	began      time.Time // the young generation
	// Of what takes more the more there is in it: how many bytes that are, how many a generation may have, and the young one has.
	weigh       func(K, V) int
	most, bytes int
}

// New returns an empty Map. An age of 0 is no bound.
func New[K comparable, V any](size int, age time.Duration) *Map[K, V] {
	return &Map[K, V]{young: map[K]V{}, half: max(size/2, 1), age: age, began: time.Now()}
}

// Weighing has m remember at most so many bytes, too, of which weigh says how many a key and what was put for it have. It is for what
// somebody hostile may have made as large as can be.
func (m *Map[K, V]) Weighing(bytes int, weigh func(K, V) int) *Map[K, V] {
	m.weigh, m.most = weigh, max(bytes/2, 1)
	return m
}

// Put remembers v as that of k.
func (m *Map[K, V]) Put(k K, v V) {
	m.turn()
	before, known := m.young[k]
	if known {
		m.bytes -= m.weight(k, before)
	} else {
		delete(m.old, k)
	}
	weight := m.weight(k, v)
	if !known && len(m.young) >= m.half || len(m.young) > 0 && m.weigh != nil && m.bytes+weight > m.most {
		delete(m.young, k)
		m.old, m.young, m.bytes = m.young, make(map[K]V), 0
		m.began = time.Now()
	}
	m.young[k] = v
	m.bytes += weight
}

func (m *Map[K, V]) weight(k K, v V) int {
	if m.weigh == nil {
		return 0
	}
	return m.weigh(k, v)
}

// turn makes what is young old when it has the age for it.
func (m *Map[K, V]) turn() {
	if m.age == 0 {
		return
	}
	now := time.Now()
	switch passed := now.Sub(m.began); {
	case passed < m.age:
		return
	case passed < 2*m.age:
		m.old = m.young
	default:
		m.old = nil
	}
	m.young, m.began, m.bytes = map[K]V{}, now, 0
}

// Get returns what was put for k, and remembers it for longer.
func (m *Map[K, V]) Get(k K) (V, bool) {
	m.turn()
	if v, ok := m.young[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	if ok {
		m.Put(k, v)
	}
	return v, ok
}

// Peek returns what was put for k.
func (m *Map[K, V]) Peek(k K) (V, bool) {
	v, ok := m.young[k]
	if !ok {
		v, ok = m.old[k]
	}
	return v, ok
}

// Has reports whether k is remembered.
func (m *Map[K, V]) Has(k K) bool {
	_, ok := m.Peek(k)
	return ok
}

// Remove forgets k.
func (m *Map[K, V]) Remove(k K) {
	if v, young := m.young[k]; young {
		m.bytes -= m.weight(k, v)
	}
	delete(m.young, k)
	delete(m.old, k)
}

// Len returns how many keys are remembered.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
