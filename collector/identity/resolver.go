// SPDX-License-Identifier: Apache-2.0

// Package identity names the other end of flows.
//
// Both ends of a connection report it, each with its own view of the addresses. What they agree on, whatever NAT or
// service address lies between, is the client's address and port. The Resolver joins the two records on that and
// tells each who the other is. Where one end never reports (its record is late, or it only listens), a listener that
// is known at the called address of the same node stands in.
//
// It must not know the store, the wire or the judge: it is given events in the order in which they become durable.
package identity

import (
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/proto"
)

// Options of New. Zero values mean the defaults.
type Options struct {
	// Slack is how far apart the intervals of two records may lie that are still of one connection: 1 minute. It
	// covers different reporting intervals and clocks; a client does not use a port again for another connection
	// so soon.
	Slack time.Duration
	// Flows is how many records wait for their other half: 65536. The oldest gives way.
	Flows int
	// Listeners and Addresses are how many are remembered: 65536 each. The least recently used gives way.
	Listeners, Addresses int
	// Registerer for metrics. Required.
	Registerer prometheus.Registerer
}

// Resolver joins flows. It is not safe for concurrent use.
type Resolver struct {
	slack     time.Duration
	halves    []*half // a ring
	next      int
	byPort    map[connection][]*half
	listeners *simplelru.LRU[listenKey, []listener]
	holders   *simplelru.LRU[holderKey, netns]
	tenants   *simplelru.LRU[place, []tenant]
	waiting   map[place][]*half // of those in halves, whose other end is not known
	metrics   metrics
}

// Batch is what came from one node.
type Batch struct {
	Cluster string
	Events  []*spoorv1.Event
}

// New returns a Resolver that knows nothing yet.
func New(o Options) (*Resolver, error) {
	if o.Slack == 0 {
		o.Slack = time.Minute
	}
	for _, n := range []*int{&o.Flows, &o.Listeners, &o.Addresses} {
		if *n == 0 {
			*n = 65536
		}
	}
	r := &Resolver{slack: o.Slack, halves: make([]*half, o.Flows), byPort: map[connection][]*half{}, waiting: map[place][]*half{}}
	if err := r.metrics.init(o.Registerer); err != nil {
		return nil, err
	}
	var err error
	if r.listeners, err = simplelru.NewLRU[listenKey, []listener](o.Listeners, nil); err != nil {
		return nil, err
	}
	if r.holders, err = simplelru.NewLRU[holderKey, netns](o.Addresses, nil); err != nil {
		return nil, err
	}
	if r.tenants, err = simplelru.NewLRU[place, []tenant](o.Addresses, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Reset forgets everything.
func (r *Resolver) Reset() {
	clear(r.halves)
	r.next = 0
	clear(r.byPort)
	r.listeners.Purge()
	r.holders.Purge()
	r.tenants.Purge()
	clear(r.waiting)
}

// Resolve fills the peers of the flows among events, whose ids must be above all that were given before, and returns
// copies of earlier flows whose peer these events made known.
func (r *Resolver) Resolve(batches []Batch) (late []*spoorv1.Event) {
	first := firstID(batches)
	// Listeners first: within a group the order of events of several nodes means little.
	for _, b := range batches {
		for _, ev := range b.Events {
			switch fact := ev.GetFact().(type) {
			case *spoorv1.Event_Listen:
				r.listen(b.Cluster, ev, fact.Listen)
			case *spoorv1.Event_Flow:
				r.holds(b.Cluster, ev.GetNode(), fact.Flow.GetNetNs(), fact.Flow.GetLocal())
			}
		}
	}
	renamed := renames{}
	rename := func(other *half, p party) {
		if other.event.GetId() >= first && !other.foreign { // nobody has it yet
			name(other.event.GetFlow(), p)
			return
		}
		renamed.stored(other, p)
	}
	r.settle(batches, rename)
	for _, b := range batches {
		for _, ev := range b.Events {
			if ev.GetFlow() == nil {
				continue
			}
			h := newHalf(b.Cluster, ev)
			if h == nil {
				continue
			}
			r.join(h, rename)
			r.keep(h)
		}
	}
	late = renamed.sorted()
	r.count(batches, len(late))
	return late
}

// renames are stored flows whose peer became known, by their ids.
type renames map[uint64]*spoorv1.Event

// stored names the peer of one that was stored, and that others may be reading: what changes is a copy. Those of other collectors are theirs to name.
func (s renames) stored(h *half, p party) {
	if h.foreign {
		return
	}
	h.event = proto.CloneOf(h.event)
	name(h.event.GetFlow(), p)
	s[h.event.GetId()] = h.event
}

func (s renames) sorted() []*spoorv1.Event {
	list := slices.Collect(maps.Values(s))
	sortByID(list)
	return list
}

// Overhear takes events that another collector has stored: it returns copies of flows of this one whose peer they made known, as Resolve does. The
// other one names the peers of theirs, from what it overhears of this one.
func (r *Resolver) Overhear(batches []Batch) (late []*spoorv1.Event) {
	renamed := renames{}
	r.settle(batches, renamed.stored)
	for _, b := range batches {
		for _, ev := range b.Events {
			switch fact := ev.GetFact().(type) {
			case *spoorv1.Event_Listen:
				r.listen(b.Cluster, ev, fact.Listen)
			case *spoorv1.Event_Flow:
				r.holds(b.Cluster, ev.GetNode(), fact.Flow.GetNetNs(), fact.Flow.GetLocal())
				if h := newHalf(b.Cluster, ev); h != nil {
					h.foreign = true
					r.join(h, renamed.stored)
					r.keep(h)
				}
			}
		}
	}
	late = renamed.sorted()
	r.metrics.late.Add(float64(len(late)))
	return late
}

// Learn takes events that are stored already, as a Resolver that starts must: it names nothing.
func (r *Resolver) Learn(batches []Batch) {
	r.settle(batches, func(*half, party) {})
	for _, b := range batches {
		for _, ev := range b.Events {
			switch fact := ev.GetFact().(type) {
			case *spoorv1.Event_Listen:
				r.listen(b.Cluster, ev, fact.Listen)
			case *spoorv1.Event_Flow:
				r.holds(b.Cluster, ev.GetNode(), fact.Flow.GetNetNs(), fact.Flow.GetLocal())
				if h := newHalf(b.Cluster, ev); h != nil {
					r.keep(h)
				}
			}
		}
	}
}

func firstID(batches []Batch) uint64 {
	for _, b := range batches {
		if len(b.Events) > 0 {
			return b.Events[0].GetId()
		}
	}
	return 0
}

// party is who is at an end.
type party struct {
	workload *spoorv1.Workload
	execID   string
}

func partyOf(ev *spoorv1.Event) party {
	return party{ev.GetInstance().GetWorkload(), ev.GetProcess().GetExecId()}
}

func partyOfPeer(f *spoorv1.Flow) party {
	return party{f.GetPeer().GetWorkload(), f.GetPeer().GetExecId()}
}

func (p party) known() bool { return p.workload != nil || p.execID != "" }

func name(f *spoorv1.Flow, p party) {
	f.Peer.Workload, f.Peer.ExecId = p.workload, p.execID
}
