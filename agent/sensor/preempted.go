// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// preempted is why what the kernel skipped is lost.
const preempted = "preempted"

// addPreempted adds to what was lost how often the kernel skipped one of programs.
func addPreempted(all []Loss, programs ...*ebpf.Program) ([]Loss, error) {
	n, err := skipped(programs...)
	if err != nil {
		return nil, err
	}
	return append(all, Loss{Reason: preempted, Count: n}), nil
}

// skipped returns how often the kernel skipped one of programs: a tracing program is not entered again on a CPU on which it
// is interrupted (bpf_prog_info.recursion_misses; since 5.12, of tp_btf programs since 6.1).
func skipped(programs ...*ebpf.Program) (uint64, error) {
	var n uint64
	for _, p := range programs {
		stats, err := p.Stats()
		if err != nil {
			return 0, fmt.Errorf("ask how often %s was skipped: %w", p, err)
		}
		n += stats.RecursionMisses
	}
	return n, nil
}
