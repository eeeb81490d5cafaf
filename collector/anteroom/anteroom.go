// SPDX-License-Identifier: Apache-2.0

// Package anteroom bounds how many may be waited for: connections on which nothing was asked yet, streams before their first word. It must not
// know what they are.
package anteroom

import (
	"container/list"
	"sync"
)

// Anteroom has places for guests. When it is full, the oldest has to go: who has come for something says so at once, so who is pushed out has come
// for something else, and nobody can keep others out by filling it.
type Anteroom struct {
	places int

	mu     sync.Mutex
	guests *list.List // of func(): what makes them go
}

// New returns an anteroom that is empty.
func New(places int) *Anteroom { return &Anteroom{places: places, guests: list.New()} }

// Enter takes a place, and calls leave of whoever has to go for it; the place is left by calling left.
func (a *Anteroom) Enter(leave func()) (left func()) {
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

// Count is how many are in it.
func (a *Anteroom) Count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.guests.Len()
}
