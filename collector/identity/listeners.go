// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// netns is one network namespace of one node.
type netns struct {
	cluster, node string
	inode         uint32
}

// listenKey is where processes listen; the address stands with each.
type listenKey struct {
	netns
	transport spoorv1.Transport
	port      uint16
}

type listener struct {
	addr netip.Addr // unspecified: every address of the namespace
	party
}

// holderKey asks which namespace of a node has an address. Only the same node is ever asked: elsewhere the same
// private address may be somebody else's.
type holderKey struct {
	cluster, node string
	addr          netip.Addr
}

// maxListeners bounds those at one port: one an address, and more when processes share it (SO_REUSEPORT).
const maxListeners = 64

func (r *Resolver) listen(cluster string, ev *spoorv1.Event, l *spoorv1.Listen) {
	addr, err := netip.ParseAddr(l.GetLocal().GetAddress())
	if err != nil || !partyOf(ev).known() {
		return
	}
	addr = addr.Unmap()
	key := listenKey{netns{cluster, ev.GetNode(), l.GetNetNs()}, l.GetTransport(), uint16(l.GetLocal().GetPort())} //nolint:gosec // ports were checked
	if !l.GetClosed() && !addr.IsUnspecified() {
		r.hold(key.netns, addr)
	}
	old, _ := r.listeners.Get(key)
	// The latest stands last.
	list := make([]listener, 0, len(old)+1)
	for _, o := range old {
		if o.addr != addr || o.execID != ev.GetProcess().GetExecId() {
			list = append(list, o)
		}
	}
	if !l.GetClosed() {
		list = append(list, listener{addr, partyOf(ev)})
	}
	if len(list) > maxListeners {
		list = slices.Delete(list, 0, len(list)-maxListeners)
		r.metrics.forgotten.WithLabelValues("listener").Inc()
	}
	if len(list) == 0 {
		r.listeners.Remove(key)
		return
	}
	if evicted := r.listeners.Add(key, list); evicted {
		r.metrics.forgotten.WithLabelValues("listener").Inc()
	}
}

// holds remembers that a namespace has the address of a flow's own end.
func (r *Resolver) holds(cluster, node string, netNS uint32, local *spoorv1.Endpoint) {
	addr, err := netip.ParseAddr(local.GetAddress())
	if err != nil || addr.IsUnspecified() {
		return
	}
	r.hold(netns{cluster, node, netNS}, addr.Unmap())
}

func (r *Resolver) hold(ns netns, addr netip.Addr) {
	if !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
		if evicted := r.holders.Add(holderKey{ns.cluster, ns.node, addr}, ns); evicted {
			r.metrics.forgotten.WithLabelValues("address").Inc()
		}
	}
}

// listenerAt returns who listens at the address that an outbound flow called, when that is on the caller's own node.
func (r *Resolver) listenerAt(cluster, node string, f *spoorv1.Flow) (party, bool) {
	addr, err := netip.ParseAddr(f.GetPeer().GetAddress())
	if err != nil {
		return party{}, false
	}
	addr = addr.Unmap()
	ns := netns{cluster, node, f.GetNetNs()}
	if !addr.IsLoopback() && !addr.IsUnspecified() {
		var ok bool
		if ns, ok = r.holders.Get(holderKey{cluster, node, addr}); !ok {
			return party{}, false
		}
	}
	list, _ := r.listeners.Get(listenKey{ns, f.GetTransport(), uint16(f.GetPeer().GetPort())}) //nolint:gosec // ports were checked
	// The kernel prefers an exact address to any; of several the latest is as good a guess as another.
	for _, exact := range []bool{true, false} {
		for _, l := range slices.Backward(list) {
			if exact && l.addr == addr || !exact && serves(l.addr, addr) {
				return l.party, true
			}
		}
	}
	return party{}, false
}

// serves: 0.0.0.0 takes IPv4, :: takes both unless its socket says otherwise, which nobody reports. Who connects to
// the unspecified address reaches the loopback address.
func serves(wildcard, addr netip.Addr) bool {
	if addr.IsUnspecified() {
		return wildcard.IsLoopback() || wildcard.IsUnspecified()
	}
	return wildcard.IsUnspecified() && (wildcard.Is6() || addr.Is4())
}
