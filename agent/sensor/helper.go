// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// hasHelper asks the running kernel's own list of helpers (enum bpf_func_id, include/uapi/linux/bpf.h), as the programs
// themselves do. It is no proof that a program type may call it.
func hasHelper(name string) (bool, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return false, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	var helpers *btf.Enum
	if err := kernel.TypeByName("bpf_func_id", &helpers); err != nil {
		return false, fmt.Errorf("find enum bpf_func_id in the kernel's BTF: %w", err)
	}
	for _, v := range helpers.Values {
		if v.Name == "BPF_FUNC_"+name {
			return true, nil
		}
	}
	return false, nil
}
