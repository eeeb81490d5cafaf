// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// function is a function of the kernel whose arguments changed over time, and the programs that know how.
type function struct {
	name string
	// programs by the number of arguments, one for each; 0 is for kernels without the function, "" for those that need no program.
	programs map[int]string
}

// choose returns the program that fits the function as it is in kernel; "" if there is none to load.
func (f *function) choose(kernel *btf.Spec) (string, error) {
	arguments, err := argumentsOf(kernel, f.name)
	if err != nil {
		return "", err
	}
	program, known := f.programs[arguments]
	if !known {
		return "", fmt.Errorf("%s has %d arguments, and no program fits", f.name, arguments)
	}
	return program, nil
}

// argumentsOf returns how many arguments a function of the kernel has: 0 when there is no such function.
func argumentsOf(kernel *btf.Spec, function string) (int, error) {
	var f *btf.Func
	err := kernel.TypeByName(function, &f)
	switch {
	case errors.Is(err, btf.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("find %s in the kernel's BTF: %w", function, err)
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return 0, fmt.Errorf("find %s in the kernel's BTF: it has no arguments", function)
	}
	return len(proto.Params), nil
}
