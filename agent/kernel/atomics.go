// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// cmpxchg is BPF_CMPXCHG (include/uapi/linux/bpf.h), the immediate value that the library leaves out (0.22): without it the
// instruction is an addition, which every kernel knows.
const cmpxchg = 0xf0 | 0x01

// Atomics says whether programs can exchange a value and learn what it was before: since Linux 5.12 (5ffa25502b5a).
func Atomics() error {
	exchange := asm.CmpXchg.Mem(asm.R10, asm.R1, asm.DWord, -8)
	exchange.Constant = cmpxchg
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:    "probe",
		Type:    ebpf.SocketFilter,
		License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0),
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(asm.R10, -8, asm.R0, asm.DWord),
			exchange,
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	if err != nil {
		return fmt.Errorf("the kernel has no atomic exchange for programs: %w", err)
	}
	return p.Close()
}
