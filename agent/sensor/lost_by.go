// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// takeLostBy empties a map of bpf/lost_by.h: how many facts were lost, by cgroup.
func takeLostBy(sensor string, m *ebpf.Map) (map[uint64]uint64, error) {
	out := map[uint64]uint64{}
	var cgroups []uint64
	var cgroup, count uint64
	each := m.Iterate()
	for each.Next(&cgroup, &count) {
		cgroups = append(cgroups, cgroup)
	}
	if err := each.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("%s sensor: read whose facts were lost: %w", sensor, err)
	}
	for _, cgroup := range cgroups {
		err := m.LookupAndDelete(&cgroup, &count)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, ebpf.ErrNotSupported) { // before 5.14; one in between is lost
			if err = m.Lookup(&cgroup, &count); err == nil {
				err = m.Delete(&cgroup)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s sensor: read whose facts were lost: %w", sensor, err)
		}
		out[cgroup] = count
	}
	return out, nil
}
