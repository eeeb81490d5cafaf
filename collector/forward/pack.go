// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Bounds of a batch, far below what a collector takes.
const (
	maxRecords = 2000
	maxBytes   = 2 << 20
)

// packer makes batches of events of one run. A batch has the number of its last event: so numbers grow, whatever is in which batch, and
// what the other side has acknowledged is a number of an event.
type packer struct {
	done      []*spoorv1.Batch
	open      *spoorv1.Batch
	bytes     int
	instances map[*spoorv1.Instance]uint32 // 1 + position
	processes map[belonging]uint32
	homeless  bool // a process in it has no instance
}

// belonging is a process in an instance: the store has the same process in another one when it moved.
type belonging struct {
	process  *spoorv1.Process
	instance *spoorv1.Instance
}

// pack returns events of a run as batches.
func pack(events []*spoorv1.Event) []*spoorv1.Batch {
	p := &packer{}
	for _, ev := range events {
		p.add(ev)
	}
	p.close()
	return p.done
}

func (p *packer) add(ev *spoorv1.Event) {
	homeless := ev.GetProcess() != nil && ev.GetInstance() == nil
	switch {
	case p.open == nil:
	case len(p.open.GetRecords()) >= maxRecords, p.bytes >= maxBytes,
		// In a batch with instances each process is of one of them.
		homeless && len(p.instances) > 0, p.homeless && ev.GetInstance() != nil:
		p.close()
	}
	if p.open == nil {
		p.open, p.bytes, p.homeless = &spoorv1.Batch{}, 0, false
		p.instances, p.processes = map[*spoorv1.Instance]uint32{}, map[belonging]uint32{}
	}
	p.homeless = p.homeless || homeless
	r := &spoorv1.Record{Sequence: ev.GetSequence(), TimeUnixNano: uint64(ev.GetTime().AsTime().UnixNano())}
	r.Instance = p.instance(ev.GetInstance())
	r.Process = p.process(ev.GetProcess(), ev.GetInstance())
	if !ev.GiveFact(r) {
		// Of a newer version: kept as it came, under the number that it has in both messages.
		r.ProtoReflect().SetUnknown(ev.ProtoReflect().GetUnknown())
	}
	p.open.Records = append(p.open.Records, r)
	p.open.Sequence = r.GetSequence()
	p.bytes += proto.Size(r)
}

func (p *packer) instance(in *spoorv1.Instance) uint32 {
	if in == nil {
		return 0
	}
	n, ok := p.instances[in]
	if !ok {
		p.open.Instances = append(p.open.Instances, in)
		n = uint32(len(p.open.GetInstances())) //nolint:gosec // at most maxRecords
		p.instances[in] = n
		p.bytes += proto.Size(in)
	}
	return n
}

func (p *packer) process(process *spoorv1.Process, in *spoorv1.Instance) uint32 {
	if process == nil {
		return 0
	}
	key := belonging{process, in}
	n, ok := p.processes[key]
	if !ok {
		p.open.Processes = append(p.open.Processes, process)
		p.open.ProcessInstances = append(p.open.ProcessInstances, max(p.instances[in], 1)-1)
		n = uint32(len(p.open.GetProcesses())) //nolint:gosec // at most maxRecords
		p.processes[key] = n
		p.bytes += proto.Size(process)
	}
	return n
}

func (p *packer) close() {
	if p.open != nil {
		p.done, p.open = append(p.done, p.open), nil
	}
}
