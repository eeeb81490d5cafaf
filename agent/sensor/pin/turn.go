// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// nextGeneration gives the programs of spec a number that none before them had.
func (s *Set) nextGeneration(spec *ebpf.CollectionSpec) error {
	words, err := s.maps[turns].LookupBytes(uint32(0))
	if err != nil || words == nil {
		return fmt.Errorf("%s sensor: read whose turn it is: %w", s.sensor, err)
	}
	for ; len(words) >= 4; words = words[4:] {
		s.generation = max(s.generation, binary.NativeEndian.Uint32(words)+1)
	}
	variable, ok := spec.Variables["generation"]
	if !ok {
		return fmt.Errorf("%s sensor: its programs have turns and no generation", s.sensor)
	}
	if err := variable.Set(s.generation); err != nil {
		return fmt.Errorf("%s sensor: set the generation: %w", s.sensor, err)
	}
	return nil
}

// giveTurn writes each CPU's word on that CPU, so that no event there is between the programs of two generations; see
// bpf/turn.h. The word of a CPU that this process may not use is written from elsewhere: an event that runs there in this
// very instant may be counted twice.
func giveTurn(m *ebpf.Map, generation uint32) error {
	memory, err := m.Memory()
	if err != nil {
		return fmt.Errorf("map whose turn it is: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread, whose CPU was chosen here, ends with the goroutine.
		runtime.LockOSThread()
		word := binary.NativeEndian.AppendUint32(nil, generation)
		var cpus unix.CPUSet
		for i := range int(memory.Size() / 4) {
			cpus.Zero()
			cpus.Set(i)
			_ = unix.SchedSetaffinity(0, &cpus) // refused for a CPU that is not there, or not for us
			if _, err := memory.WriteAt(word, int64(i)*4); err != nil {
				done <- fmt.Errorf("write whose turn it is: %w", err)
				return
			}
		}
		done <- nil
	}()
	return <-done
}
