// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// connection is what both ends of a connection see alike, and which end saw it. scope tells apart what only looks
// alike: loopback addresses are everybody's.
type connection struct {
	scope     string
	client    netip.Addr
	port      uint16
	transport spoorv1.Transport
	outbound  bool
}

func (c connection) fromOtherEnd() connection {
	c.outbound = !c.outbound
	return c
}

// half is one record of one or more connections between two ends.
type half struct {
	event    *spoorv1.Event
	cluster  string
	outbound bool
	server   netip.AddrPort // as this end sees it
	// Where the client's node sent the connections instead.
	translated []netip.AddrPort
	// Addresses by which the other end may be known.
	peers       []place
	first, last int64
	keys        []connection
	// fit is how well the half fitted that named this one's peer; zero when none did.
	fit rank
	// foreign is one that another collector has: that one names its peer.
	foreign bool
}

const (
	// maxPorts is how many of a record's client ports are looked at: any one that both ends have is enough.
	maxPorts = 16
	// maxCandidates is how many halves are kept of one end of one client's address and port.
	maxCandidates = 16
)

// newHalf returns nil for a flow that cannot be joined: no IP address, or no client port known.
func newHalf(cluster string, ev *spoorv1.Event) *half {
	f := ev.GetFlow()
	if f.GetLocal() == nil || f.GetPeer() == nil {
		return nil
	}
	h := &half{event: ev, cluster: cluster, outbound: f.GetDirection() == spoorv1.Direction_DIRECTION_OUTBOUND}
	clientEnd, serverEnd := f.GetPeer(), f.GetLocal()
	if h.outbound {
		clientEnd, serverEnd = serverEnd, clientEnd
	}
	if f.GetDirection() == spoorv1.Direction_DIRECTION_UNSPECIFIED {
		return nil
	}
	server, err := netip.ParseAddr(serverEnd.GetAddress())
	if err != nil {
		return nil
	}
	h.server = netip.AddrPortFrom(server.Unmap(), uint16(serverEnd.GetPort())) //nolint:gosec // ports were checked
	h.first, h.last = interval(ev)
	if f.GetPeer().GetExecId() != "" {
		h.fit = best // the agent saw both ends itself, or they were joined before
	}
	if h.outbound {
		h.peers = append(h.peers, place{cluster, h.server.Addr()})
		h.translate(f.GetTranslations())
	}
	client, err := netip.ParseAddr(clientEnd.GetAddress())
	if err != nil {
		return h
	}
	client = client.Unmap()
	if !h.outbound {
		h.peers = append(h.peers, place{cluster, client})
	}
	scope := scopeOf(cluster, ev.GetNode(), f.GetNetNs(), client)
	for _, port := range f.GetClientPorts()[:min(len(f.GetClientPorts()), maxPorts)] {
		h.keys = append(h.keys, connection{scope, client, uint16(port), f.GetTransport(), h.outbound}) //nolint:gosec // ports were checked
	}
	return h
}

// maxTranslations is how many an agent tells at most.
const maxTranslations = 16

// translate adds what the other end sees of connections that the client's node changed on their way.
func (h *half) translate(all []*spoorv1.Translation) {
	for _, t := range all[:min(len(all), maxTranslations)] {
		server, err := netip.ParseAddr(t.GetServer().GetAddress())
		if err != nil {
			continue
		}
		at := netip.AddrPortFrom(server.Unmap(), uint16(t.GetServer().GetPort())) //nolint:gosec // ports were checked
		if !slices.Contains(h.translated, at) {
			h.translated = append(h.translated, at)
			h.peers = append(h.peers, place{h.cluster, at.Addr()})
		}
		client, err := netip.ParseAddr(t.GetClient().GetAddress())
		if err != nil {
			continue
		}
		k := connection{"", client.Unmap(), uint16(t.GetClient().GetPort()), h.event.GetFlow().GetTransport(), h.outbound} //nolint:gosec // ports were checked
		if !slices.Contains(h.keys, k) {
			h.keys = append(h.keys, k)
		}
	}
}

func interval(ev *spoorv1.Event) (first, last int64) {
	f, t := ev.GetFlow(), ev.GetTime().AsTime().UnixNano()
	first, last = t, t
	if f.GetFirst() != nil {
		first = f.GetFirst().AsTime().UnixNano()
	}
	if f.GetLast() != nil {
		last = f.GetLast().AsTime().UnixNano()
	}
	return first, last
}

// scopeOf is empty for addresses that mean the same machine wherever they are seen.
func scopeOf(cluster, node string, netNS uint32, a netip.Addr) string {
	if a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return cluster + "\x00" + node + "\x00" + strconv.FormatUint(uint64(netNS), 10)
	}
	return ""
}

// join looks for the other half of h. What it finds is put into h at once; rename is called for halves that were
// seen before and now learn who h is.
func (r *Resolver) join(h *half, rename func(*half, party)) {
	own := partyOf(h.event)
	var other *half
	var fit rank
	for _, k := range h.keys {
		// Each port is another connection, perhaps to another server behind one service address: each has its own best.
		var best rank
		var found []*half
		for _, c := range r.byPort[k.fromOtherEnd()] {
			rk, ok := r.rank(h, c)
			if !ok {
				continue
			}
			switch d := rk.compare(best); {
			case d > 0:
				best, found = rk, append(found[:0], c)
			case d == 0:
				found = append(found, c)
			}
			if other == nil || rk.compare(fit) > 0 || rk.compare(fit) == 0 && rk.apart < fit.apart {
				other, fit = c, rk
			}
		}
		// Several records of the other end may tell of the same connections: each is told who this end is.
		for _, c := range found {
			if own.known() && best.compare(c.fit) > 0 {
				c.fit = best
				rename(c, own)
			}
		}
	}
	switch {
	case other != nil && partyOf(other.event).known() && fit.compare(h.fit) > 0:
		h.fit = fit
		name(h.event.GetFlow(), partyOf(other.event))
	case h.outbound && !partyOfPeer(h.event.GetFlow()).known():
		if p, ok := r.listenerAt(h.cluster, h.event.GetNode(), h.event.GetFlow()); ok {
			name(h.event.GetFlow(), p)
		}
	}
	r.byAddress(h)
}

// rank says how well two halves fit: of one cluster before any others, since clusters use the same private addresses;
// then by how much of the server's address agrees; then of one node before others.
type rank struct {
	cluster int
	agree   int
	node    int
	// apart is how far apart they are in time; it decides between equals only.
	apart int64
}

// best is above every rank that two halves can have.
var best = rank{cluster: 2}

func (a rank) compare(b rank) int {
	return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.agree, b.agree), cmp.Compare(a.node, b.node))
}

// rank says how well c fits as the other half of h, or that it does not.
func (r *Resolver) rank(h, c *half) (rank, bool) {
	apart := max(h.first-c.last, c.first-h.last, 0)
	if apart > int64(r.slack) {
		return rank{}, false
	}
	rk := rank{agree: 1, apart: apart}
	if h.cluster == c.cluster {
		rk.cluster = 1
		if h.event.GetNode() == c.event.GetNode() {
			rk.node = 1
		}
	}
	if slices.Contains(h.translated, c.server) || slices.Contains(c.translated, h.server) {
		rk.agree = 3
		return rk, true
	}
	sameAddress := h.server.Addr() == c.server.Addr() || h.server.Addr().IsUnspecified() || c.server.Addr().IsUnspecified()
	samePort := h.server.Port() == c.server.Port()
	switch {
	case sameAddress && samePort:
		rk.agree = 3
	case samePort:
		rk.agree = 2 // the client called a service address
	case sameAddress:
		return rank{}, false // another connection from the same port
	}
	// Otherwise the client called a service address whose port differs as well.
	return rk, true
}

// keep remembers h for its other half.
func (r *Resolver) keep(h *half) {
	if len(h.keys) == 0 && len(h.peers) == 0 {
		return
	}
	if old := r.halves[r.next]; old != nil {
		r.drop(old)
		if old.fit == (rank{}) {
			r.metrics.forgotten.WithLabelValues("flow").Inc()
		}
	}
	r.halves[r.next] = h
	r.next = (r.next + 1) % len(r.halves)
	for _, k := range h.keys {
		list := r.byPort[k]
		if len(list) >= maxCandidates {
			list = slices.Delete(list, 0, 1)
		}
		r.byPort[k] = append(list, h)
	}
	r.await(h)
}

func (r *Resolver) drop(h *half) {
	r.serve(h)
	for _, k := range h.keys {
		list := r.byPort[k]
		if i := slices.Index(list, h); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(r.byPort, k)
		} else {
			r.byPort[k] = list
		}
	}
}

func sortByID(evs []*spoorv1.Event) {
	slices.SortFunc(evs, func(a, b *spoorv1.Event) int { return cmp.Compare(a.GetId(), b.GetId()) })
}
