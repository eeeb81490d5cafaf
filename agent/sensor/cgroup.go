// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/spoor/spoor/agent/kernel"
)

// tellV1 lets a sensor report the v1 cgroup of processes that are in none of the unified hierarchy.
func tellV1(spec *ebpf.CollectionSpec) error {
	v1, err := kernel.CgroupV1()
	if err != nil {
		return err
	}
	if v1.Hierarchy == 0 {
		return nil
	}
	for name, value := range map[string]uint32{"v1_hierarchy": v1.Hierarchy, "v1_subsys": v1.Subsys} {
		variable, ok := spec.Variables[name]
		if !ok {
			return fmt.Errorf("tell of the cgroup hierarchies: the kernel side has no %s", name)
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("tell of the cgroup hierarchies: %w", err)
		}
	}
	return nil
}
