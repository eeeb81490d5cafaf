// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/spoor/spoor/agent/sensor/pin"
)

// How many facts one system call returns. Larger than any bucket of a hash map, or the kernel answers ENOSPC.
const batchSize = 2048

// facts reads a map of facts that the kernel side goes on filling: it puts an empty map in its place, and empties the one
// it took out. The kernel returns from that exchange when no program uses the old map any more (synchronize_rcu after an
// update of a map of maps, kernel/bpf/syscall.c maybe_wait_bpf_programs), so nothing is read half-written or lost.
//
// A fact is either in one of the two maps or was handed out, and both maps outlive an agent whose maps are pinned: what an
// agent left in the map that it had taken out, and what came since, is there for the next.
type facts[K comparable, V any] struct {
	slot   *ebpf.Map
	active *ebpf.Map
	spare  *ebpf.Map
	keys   []K
	values []V
	// What earlier agents left: in the map that is out, and in maps of another size.
	inherited bool
	older     []*pin.Retired
	// An exchange was made: from then on the counter of touched facts tells whether there is anything to read.
	settled bool
}

// newFacts makes or finds both maps, by the inner map of spec, with room for entries facts each, and puts one in.
func newFacts[K comparable, V any](set *pin.Set, slot *ebpf.Map, spec *ebpf.MapSpec, entries uint32) (*facts[K, V], error) {
	inner := spec.InnerMap.Copy()
	if entries != 0 {
		inner.MaxEntries = entries
	}
	f := &facts[K, V]{slot: slot, keys: make([]K, batchSize), values: make([]V, batchSize)}
	var err error
	if f.active, err = set.Map(factsA, inner); err == nil {
		f.spare, err = set.Map(factsB, inner)
	}
	if err == nil {
		err = f.putIn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a map of %d facts: %w", inner.MaxEntries, err), f.close())
	}
	f.inherited = set.Adopted(factsA) || set.Adopted(factsB)
	return f, nil
}

// Names of the two maps, which only pins need.
const factsA, factsB = "facts_a", "facts_b"

// putIn finds out which of the two maps is in, and puts one in where neither is.
func (f *facts[K, V]) putIn() error {
	var in uint32 // the kernel tells the id of the map
	if err := f.slot.Lookup(uint32(0), &in); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("ask which map of facts is in: %w", err)
	}
	for _, m := range []*ebpf.Map{f.active, f.spare} {
		info, err := m.Info()
		if err != nil {
			return fmt.Errorf("ask for the id of a map of facts: %w", err)
		}
		id, ok := info.ID()
		if !ok || id == 0 || uint32(id) != in {
			continue
		}
		if m == f.spare {
			f.active, f.spare = f.spare, f.active
		}
		return nil
	}
	if err := f.slot.Put(uint32(0), f.active); err != nil {
		return fmt.Errorf("put a map of facts in: %w", err)
	}
	return nil
}

// inherit takes what earlier agents left in maps that no program fills any more.
func (f *facts[K, V]) inherit(retired []*pin.Retired, l *losses) error {
	for _, r := range retired {
		var err error
		switch isFacts := r.Name == factsA || r.Name == factsB; {
		case isFacts && r.Known:
			f.older = append(f.older, r)
		case isFacts:
			err = l.count(r)
		case r.Type() == ebpf.RingBuf && !r.Known:
			err = l.countRing(r)
		default:
			err = r.Drop()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exchange puts the empty map in; drain then reads the one that was taken out. The first one after an agent that left facts
// behind exchanges nothing: drain then reads those.
func (f *facts[K, V]) exchange() (inherited bool, err error) {
	if f.inherited || len(f.older) > 0 {
		f.inherited = false
		return true, nil
	}
	if err := f.slot.Put(uint32(0), f.spare); err != nil {
		return false, fmt.Errorf("exchange the map of facts: %w", err)
	}
	f.active, f.spare, f.settled = f.spare, f.active, true
	return false, nil
}

// drain calls fn for each fact of the map that is out, and of those that earlier agents left, and empties them.
func (f *facts[K, V]) drain(fn func(*K, *V)) error {
	for len(f.older) > 0 {
		if err := f.empty(f.older[0].Map, fn); err != nil {
			return err
		}
		if err := f.older[0].Drop(); err != nil {
			return fmt.Errorf("remove an earlier agent's map of facts: %w", err)
		}
		f.older = f.older[1:]
	}
	return f.empty(f.spare, fn)
}

func (f *facts[K, V]) empty(m *ebpf.Map, fn func(*K, *V)) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookupAndDelete(&cursor, f.keys, f.values, nil)
		for i := range n {
			fn(&f.keys[i], &f.values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read facts: %w", err)
		}
	}
}

func (f *facts[K, V]) close() error {
	var errs []error
	for _, m := range []*ebpf.Map{f.active, f.spare} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	for _, r := range f.older {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
