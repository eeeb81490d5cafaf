// SPDX-License-Identifier: Apache-2.0

package kernel

import "github.com/cilium/ebpf/btf"

// HoldsInterrupts says whether programs can keep interrupts away from the CPU that they run on, by bpf_local_irq_save: since
// Linux 6.14 (0de20c27aecd).
func HoldsInterrupts() bool {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	var save *btf.Func
	return types.TypeByName("bpf_local_irq_save", &save) == nil
}
