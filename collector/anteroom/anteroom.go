// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"container/list"
	"sync"
)

// anteroom is where streams are before their hello. When it is full, the oldest has to go: an agent says hello at once, so who is
// pushed out has come for something else, and nobody can keep agents out by filling it.
type anteroom struct {
	places int

	mu     sync.Mutex
	guests *list.List // of func(): what makes them go
}

func newAnteroom(places int) *anteroom { return &anteroom{places: places, guests: list.New()} }

// enter takes a place, and calls leave of whoever has to go for it; the place is left by calling left.
func (a *anteroom) enter(leave func()) (left func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.guests.Len() >= a.places {
		oldest := a.guests.Front()
		a.guests.Remove(oldest)
		if push, ok := oldest.Value.(func()); ok {
			push()
		}
	}
	place := a.guests.PushBack(leave)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.guests.Remove(place) // nothing, if it was pushed out
	}
}

func (a *anteroom) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.guests.Len()
}
