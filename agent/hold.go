// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How many records wait for names at most.
const maxHeld = 20_000

// hold keeps back the records of instances whose names are on their way, in order, so that none is sent without. It lies
// between whoever makes records and the queue, which gives them their numbers: what waits has none, so nothing that is
// sent meanwhile has to wait for it. How long a name is waited for is the resolver's to say; when there is no room, the
// instance that has most of it goes with what is known of it: nobody has the others go without their names.
type hold struct {
	limit   int
	count   int
	records map[*workload.Instance][]held
	order   []*workload.Instance // that have records here, longest waiting first
	crowded uint64
}

type held struct {
	record  *spoorv1.Record
	process *spoorv1.Process
}

func newHold(limit int) *hold {
	return &hold{limit: limit, records: map[*workload.Instance][]held{}}
}

// add keeps a record. It returns an instance that must go to make room, or nil.
func (h *hold) add(in *workload.Instance, p *spoorv1.Process, r *spoorv1.Record) *workload.Instance {
	if _, ok := h.records[in]; !ok {
		h.order = append(h.order, in)
	}
	h.records[in] = append(h.records[in], held{r, p})
	h.count++
	if h.count < h.limit {
		return nil
	}
	h.crowded++
	return slices.MaxFunc(h.order, func(a, b *workload.Instance) int { return len(h.records[a]) - len(h.records[b]) })
}

// release hands out the records of each instance that is no longer pending.
func (h *hold) release(send func(*workload.Instance, *spoorv1.Process, *spoorv1.Record)) {
	still := h.order[:0]
	for _, in := range h.order {
		if in.Pending() {
			still = append(still, in)
			continue
		}
		for _, r := range h.records[in] {
			send(in, r.process, r.record)
		}
		h.count -= len(h.records[in])
		delete(h.records, in)
	}
	h.order = buffer.Cut(h.order, len(still))
}
