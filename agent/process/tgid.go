// SPDX-License-Identifier: Apache-2.0

package process

import "github.com/spoor/spoor/agent/sensor"

// ByTgid returns the newest image of a thread group that had begun at a time (nanoseconds since boot), also when it has
// ended; nil when none is remembered. It is for what names a process by its number alone: two images that begin between
// the fact and the time are taken for one another, and so are, where numbers are scarce, two processes.
func (t *Table) ByTgid(tgid uint32, when uint64) *Process {
	p, ok := t.newest[tgid]
	if !ok {
		return nil
	}
	if p.time > when {
		before := sensor.Who{StartBoottime: p.Who.StartBoottime, Tgid: tgid, ExecCount: p.Who.ExecCount - 1}
		if earlier, ok := t.all.Peek(before); ok {
			p = earlier
		}
	}
	t.all.Get(p.Who) // it is in use
	t.Announce(p)
	return p
}
