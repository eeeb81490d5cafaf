// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// place is an address within a cluster. Clusters use the same private addresses, so it means nothing to others.
type place struct {
	cluster string
	addr    netip.Addr
}

// tenant is an instance that has an address, since when.
type tenant struct {
	instance string
	since    int64
	party
}

// maxTenants is how many are remembered of an address, the latest: it is given to the next soon after one is gone.
const maxTenants = 4

// settle learns which addresses the instances of events have, and names those at the other end of earlier flows who were not known.
func (r *Resolver) settle(batches []Batch, rename func(*half, party)) {
	seen := map[*spoorv1.Instance]struct{}{}
	for _, b := range batches {
		for _, ev := range b.Events {
			in := ev.GetInstance()
			if len(in.GetAddresses()) == 0 || in.GetWorkload() == nil {
				continue
			}
			if _, ok := seen[in]; ok {
				continue
			}
			seen[in] = struct{}{}
			for _, a := range in.GetAddresses() {
				addr, err := netip.ParseAddr(a)
				if err != nil {
					continue
				}
				if at := (place{b.Cluster, addr.Unmap()}); r.moveIn(at, in, ev.GetTime().AsTime().UnixNano()) {
					r.introduce(at, rename)
				}
			}
		}
	}
}

// introduce names who has an address now to those that waited for that.
func (r *Resolver) introduce(at place, rename func(*half, party)) {
	for _, h := range slices.Clone(r.waiting[at]) {
		if partyOfPeer(h.event.GetFlow()).known() { // it was joined meanwhile
			r.serve(h)
		} else if p, ok := r.tenantAt(at, h.last); ok {
			rename(h, p)
			r.serve(h)
		}
	}
}

// moveIn reports whether that was news.
func (r *Resolver) moveIn(at place, in *spoorv1.Instance, seen int64) bool {
	since := seen
	if start := in.GetStartTime(); start != nil {
		since = min(since, start.AsTime().UnixNano())
	}
	known, _ := r.tenants.Get(at)
	list := make([]tenant, 0, len(known)+1)
	for _, t := range known {
		if t.instance == in.GetId() {
			if since >= t.since && t.workload.Same(in.GetWorkload()) {
				return false
			}
			continue
		}
		list = append(list, t)
	}
	list = append(list, tenant{in.GetId(), since, party{workload: in.GetWorkload()}})
	slices.SortStableFunc(list, func(a, b tenant) int { return int(min(max(a.since-b.since, -1), 1)) })
	if len(list) > maxTenants {
		list = slices.Delete(list, 0, len(list)-maxTenants)
	}
	if evicted := r.tenants.Add(at, list); evicted {
		r.metrics.forgotten.WithLabelValues("address").Inc()
	}
	return true
}

// tenantAt returns who had an address at a time: whoever got it last before.
func (r *Resolver) tenantAt(at place, when int64) (party, bool) {
	list, _ := r.tenants.Get(at)
	for _, t := range slices.Backward(list) {
		if t.since <= when+int64(r.slack) {
			return t.party, true
		}
	}
	return party{}, false
}

// byAddress names the other end of h by its address alone, or has it wait until somebody is known to have that.
func (r *Resolver) byAddress(h *half) {
	if partyOfPeer(h.event.GetFlow()).known() {
		return
	}
	for _, at := range h.peers {
		if p, ok := r.tenantAt(at, h.last); ok {
			name(h.event.GetFlow(), p)
			return
		}
	}
}

// await has h wait for who has the address of its other end. It must be one of those that are kept.
func (r *Resolver) await(h *half) {
	if partyOfPeer(h.event.GetFlow()).known() {
		return
	}
	for _, at := range h.peers {
		list := r.waiting[at]
		if len(list) >= maxCandidates {
			list = slices.Delete(list, 0, 1)
		}
		r.waiting[at] = append(list, h)
	}
}

// serve ends the waiting of h.
func (r *Resolver) serve(h *half) {
	for _, at := range h.peers {
		list := r.waiting[at]
		i := slices.Index(list, h)
		if i < 0 {
			continue
		}
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(r.waiting, at)
		} else {
			r.waiting[at] = list
		}
	}
}
