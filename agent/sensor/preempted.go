// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// addPreempted adds to what was lost how often the kernel skipped one of programs: a tracing program is not entered again
// on a CPU on which it is interrupted (bpf_prog_info.recursion_misses; since 5.12, of tp_btf programs since 6.1).
func addPreempted(all []Loss, programs ...*ebpf.Program) ([]Loss, error) {
	skipped := Loss{Reason: "preempted"}
	for _, p := range programs {
		stats, err := p.Stats()
		if err != nil {
			return nil, fmt.Errorf("ask how often %s was skipped: %w", p, err)
		}
		skipped.Count += stats.RecursionMisses
	}
	return append(all, skipped), nil
}
