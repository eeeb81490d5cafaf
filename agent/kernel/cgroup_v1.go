// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// V1 is one of the cgroup hierarchies that a v1 controller has for itself.
type V1 struct {
	Controller string
	// The number of the hierarchy (/proc/cgroups), from 1; 0 means that there is none.
	Hierarchy uint32
	// The number of the controller in the kernel's arrays (enum cgroup_subsys_id).
	Subsys uint32
}

// Runtimes and systemd put what they start into each of these: the first that is in use tells for all.
var telling = []string{"pids", "memory", "cpu", "devices", "freezer", "cpuset", "blkio"}

// CgroupV1 returns the v1 hierarchy by which processes can be told apart, or a zero V1 on a host that has none.
func CgroupV1() (V1, error) {
	b, err := os.ReadFile("/proc/cgroups")
	if errors.Is(err, fs.ErrNotExist) { // a kernel without v1
		return V1{}, nil
	}
	if err != nil {
		return V1{}, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	v1 := findV1(string(b))
	if v1.Hierarchy == 0 {
		return V1{}, nil
	}
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return V1{}, fmt.Errorf("find the cgroup controllers: %w", err)
	}
	var controllers *btf.Enum
	if err := types.TypeByName("cgroup_subsys_id", &controllers); err != nil {
		return V1{}, fmt.Errorf("find the cgroup controllers: %w", err)
	}
	for _, v := range controllers.Values {
		// The kernel calls blkio by the name that it has in v2.
		if strings.TrimSuffix(v.Name, "_cgrp_id") == strings.Replace(v1.Controller, "blkio", "io", 1) {
			v1.Subsys = uint32(v.Value) //nolint:gosec // a dozen
			return v1, nil
		}
	}
	return V1{}, nil
}

// findV1 reads /proc/cgroups (cgroups(7)): name, hierarchy (0 is v2 or none), number of cgroups, enabled.
func findV1(controllers string) V1 {
	found := map[string]uint32{}
	for line := range strings.Lines(controllers) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 8); err == nil && n > 0 {
			found[f[0]] = uint32(n)
		}
	}
	for _, name := range telling {
		if n, ok := found[name]; ok {
			return V1{Controller: name, Hierarchy: n}
		}
	}
	return V1{}
}
