// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"
)

const (
	// How many cgroups are remembered, dead ones too: their last events come after them.
	remembered = 8192
	// How long dead ones are, after their last event.
	deadGrace = 2 * time.Minute
	// How many are looked at in one go.
	maxLooks = 256
)

// cgroups knows the instance behind each id. It is not safe for concurrent use.
type cgroups struct {
	all *lru.LRU[uint64, *cgroup]
	// The time, as far as it was told.
	now     time.Time
	evicted uint64
}

type cgroup struct {
	in *Instance
	// When it was asked for last, or was there still.
	used time.Time
}

// newCgroups returns an empty table; gone is told of each that is forgotten.
func newCgroups(gone func(id uint64, in *Instance)) (*cgroups, error) {
	c := &cgroups{}
	var err error
	if c.all, err = lru.NewLRU(remembered, func(id uint64, g *cgroup) { gone(id, g.in) }); err != nil {
		return nil, fmt.Errorf("remember cgroups: %w", err)
	}
	return c, nil
}

func (c *cgroups) get(id uint64) (*Instance, bool) {
	g, ok := c.all.Get(id)
	if !ok {
		return nil, false
	}
	g.used = c.now
	return g.in, true
}

func (c *cgroups) add(id uint64, in *Instance) {
	if c.all.Add(id, &cgroup{in, c.now}) {
		c.evicted++
	}
}

// forget drops what nobody asked for in a while and what is there no more, as alive says. Who is alive keeps his place.
func (c *cgroups) forget(now time.Time, alive func(id uint64) bool) {
	c.now = now
	for range maxLooks {
		id, g, ok := c.all.GetOldest()
		if !ok || now.Sub(g.used) < deadGrace {
			return
		}
		if alive(id) {
			g.used = now
			c.all.Get(id) // to the other end
			continue
		}
		c.all.Remove(id)
	}
}

// alive reports whether a cgroup is there still, as far as can be told.
func (r *Resolver) alive(key uint64) bool {
	h := r.o.Unified
	if hierarchyOf(key) != 0 {
		h = r.o.V1
	}
	if h == nil || h.Mount == "" {
		return true
	}
	_, err := h.path(key &^ (0xff << hierarchyShift))
	return !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.ENOENT)
}
