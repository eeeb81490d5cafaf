// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How many shares are remembered as told.
const rememberedShares = 8192

// holder is one process that has a piece of memory mapped.
type holder struct {
	process *process.Process
	mapping sensor.Mapping
}

// shareKey is a piece of memory in the hands of two instances.
type shareKey struct {
	inode    sensor.Inode
	one, two string // instance ids
}

// shares keeps what was told of memory that instances share.
type shares struct {
	memory *sensor.Memory
	told   reminder[shareKey]
	strangers
}

// openShares loads the sensor of shared memory.
func openShares() (*shares, error) {
	memory, err := sensor.OpenMemory()
	if err != nil {
		return nil, err
	}
	return &shares{memory: memory, told: newReminder[shareKey](rememberedShares)}, nil
}

// tellShares looks at all shared memory, and tells of what is mapped in more than one instance: from the side of each, by
// the first process of each that has it. Memory that processes of one instance share is their own business.
func (a *Agent) tellShares(now time.Time) error {
	if a.shares == nil {
		return nil
	}
	held := map[sensor.Inode][]holder{}
	err := a.shares.memory.Read(func(m *sensor.Mapping) {
		if m.Who.Tgid == 0 || a.shares.strangers.isNew(m.Who, a.table.Knows(m.Who)) {
			return
		}
		p := a.table.Get(m.Who, m.CgroupID)
		a.table.Moved(p, m.CgroupID)
		known := slices.ContainsFunc(held[m.Inode], func(h holder) bool { return h.process.Instance == p.Instance })
		if !known {
			held[m.Inode] = append(held[m.Inode], holder{p, *m})
		}
	})
	if err != nil {
		return err
	}
	a.shares.strangers.turn()
	for inode, holders := range held {
		for _, one := range holders {
			for _, two := range holders {
				if one.process.Instance != two.process.Instance {
					a.tellShare(now, inode, one, two)
				}
			}
		}
	}
	return nil
}

func (a *Agent) tellShare(now time.Time, inode sensor.Inode, one, two holder) {
	if two.process.Instance.Pending() { // the next look finds it named
		return
	}
	k := shareKey{inode, one.process.Instance.Proto().GetId(), two.process.Instance.Proto().GetId()}
	if !a.shares.told.due(now, k) {
		return
	}
	f := &spoorv1.File{
		Dev: inode.Dev, Inode: inode.Number, Generation: inode.Generation,
		FsType: "tmpfs", StorageClass: spoorv1.StorageClass_STORAGE_CLASS_TMPFS,
	}
	f.Path, f.PathRaw = exact(one.mapping.Name)
	a.add(now, one.process.Proto, one.process.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Share{Share: &spoorv1.Share{
		Kind: spoorv1.Share_KIND_MEMORY, File: f,
		Other: two.process.Instance.Proto().GetWorkload(), OtherExecId: two.process.Proto.GetExecId(),
		OtherInstance: k.two,
	}}})
}
