// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"slices"
	"testing"
	"time"
)

func TestCgroupsThatAreGoneAreForgotten(t *testing.T) {
	forgotten := 0
	c, err := newCgroups(func(uint64, *Instance) { forgotten++ })
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	at := func(after time.Duration, alive ...uint64) {
		c.forget(begun.Add(after), func(id uint64) bool {
			return slices.Contains(alive, id)
		})
	}
	at(0)
	for id := range uint64(3) {
		c.add(id, &Instance{})
	}
	at(time.Minute)
	if _, known := c.get(2); !known { // an event of it
		t.Fatal("one was forgotten within the grace")
	}
	at(deadGrace, 0)
	if c.all.Contains(1) || !c.all.Contains(0) || !c.all.Contains(2) || forgotten != 1 {
		t.Errorf("remembered: %v, want the living one and the one that had an event", c.all.Keys())
	}
	at(deadGrace+time.Minute, 0)
	if c.all.Len() != 1 || forgotten != 2 || c.evicted != 0 {
		t.Errorf("remembered: %v, want the living one; %d evicted", c.all.Keys(), c.evicted)
	}
	for id := range uint64(remembered) {
		c.add(10+id, &Instance{})
	}
	if c.evicted != 1 {
		t.Errorf("%d evicted for want of room, want 1", c.evicted)
	}
}
