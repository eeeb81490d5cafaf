// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// How many facts one system call returns. Larger than any bucket of a hash map, or the kernel answers ENOSPC.
const batchSize = 2048

// facts reads a map of facts that the kernel side goes on filling: it puts an empty map in its place, and empties the one
// it took out. The kernel returns from that exchange when no program uses the old map any more (synchronize_rcu after an
// update of a map of maps, kernel/bpf/syscall.c maybe_wait_bpf_programs), so nothing is read half-written or lost.
type facts[K comparable, V any] struct {
	slot   *ebpf.Map
	active *ebpf.Map
	spare  *ebpf.Map
	keys   []K
	values []V
}

// newFacts makes both maps from the inner map of spec, with room for entries facts each, and puts one in.
func newFacts[K comparable, V any](slot *ebpf.Map, spec *ebpf.MapSpec, entries uint32) (*facts[K, V], error) {
	inner := spec.InnerMap.Copy()
	if entries != 0 {
		inner.MaxEntries = entries
	}
	f := &facts[K, V]{slot: slot, keys: make([]K, batchSize), values: make([]V, batchSize)}
	for _, m := range []**ebpf.Map{&f.active, &f.spare} {
		made, err := ebpf.NewMap(inner)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make a map of %d facts: %w", inner.MaxEntries, err), f.close())
		}
		*m = made
	}
	if err := slot.Put(uint32(0), f.active); err != nil {
		return nil, errors.Join(fmt.Errorf("put a map of facts in: %w", err), f.close())
	}
	return f, nil
}

// exchange puts the empty map in; drain then reads the one that was taken out.
func (f *facts[K, V]) exchange() error {
	if err := f.slot.Put(uint32(0), f.spare); err != nil {
		return fmt.Errorf("exchange the map of facts: %w", err)
	}
	f.active, f.spare = f.spare, f.active
	return nil
}

// drain calls fn for each fact of the map that is out, and empties it.
func (f *facts[K, V]) drain(fn func(*K, *V)) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := f.spare.BatchLookupAndDelete(&cursor, f.keys, f.values, nil)
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
	return errors.Join(errs...)
}
