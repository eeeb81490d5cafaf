// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Why programs cannot be loaded here.
var (
	ErrNotPrivileged = errors.New("not allowed to load BPF programs")
	ErrNoBTF         = errors.New("the kernel has no type information (BTF)")
	ErrNoTracing     = errors.New("the kernel refuses BPF tracing programs")
)

const btfPath = "/sys/kernel/btf/vmlinux"

// Check says whether this kernel can carry the sensors at all. The error wraps one of this package's and says what to do.
func Check() error {
	if _, err := os.Stat(btfPath); err != nil {
		return fmt.Errorf("%w: %s is missing; use a kernel built with CONFIG_DEBUG_INFO_BTF=y "+
			"(Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it)", ErrNoBTF, btfPath)
	}
	err := loadNothing()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, os.ErrPermission):
		if unix.Geteuid() != 0 {
			return fmt.Errorf("%w as uid %d: run as root (sudo), or with the capabilities BPF, PERFMON, NET_ADMIN, "+
				"SYS_PTRACE and DAC_READ_SEARCH", ErrNotPrivileged, unix.Geteuid())
		}
		return fmt.Errorf("%w although root: a container or sandbox took CAP_BPF and CAP_PERFMON away, "+
			"or a lockdown forbids it; run on the host itself or grant both capabilities", ErrNotPrivileged)
	default:
		return fmt.Errorf("%w: %w; a kernel since 5.10 with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT is needed", ErrNoTracing, err)
	}
}

// loadNothing loads the smallest program of the kind that every sensor is made of (tp_btf) and throws it away. The probe
// of ebpf's own features package asks for fentry, which some kernels refuse while they allow this.
func loadNothing() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "probe",
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceRawTp,
		AttachTo:     "sched_process_exit",
		License:      "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	return p.Close()
}
