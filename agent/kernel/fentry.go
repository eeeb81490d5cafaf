// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrNoFentry says that programs cannot be attached to the kernel's functions, which the full tier is made of.
var ErrNoFentry = errors.New("the kernel refuses fentry programs")

// Fentry says whether programs can be attached to functions of this kernel. It attaches one that does nothing to a function
// that exists to be tested with, and takes it off again: some kernels load such programs and cannot attach them.
func Fentry() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "probe",
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceFEntry,
		AttachTo:     "bpf_fentry_test1",
		License:      "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err == nil {
		var l link.Link
		if l, err = link.AttachTracing(link.TracingOptions{Program: p}); err == nil {
			return errors.Join(l.Close(), p.Close())
		}
		err = errors.Join(err, p.Close())
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (EPERM)", ErrNoFentry) // the library's guess at a reason would be MEMLOCK
	}
	return fmt.Errorf("%w: %w", ErrNoFentry, err)
}
