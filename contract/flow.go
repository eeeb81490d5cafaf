// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// peer is the other end of a flow, with whatever is known of it.
type peer struct {
	workload *spoorv1.Workload
	// Names that were resolved to its address, in normal form.
	names []string
	// Invalid when the event has no address.
	addr netip.Addr
	// As the event has it.
	text string
}

func parseAddr(s string) netip.Addr {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// String names the peer as well as is known.
func (p *peer) String() string {
	switch {
	case p.workload != nil:
		return workloadName(p.workload)
	case len(p.names) > 0:
		return printable(p.names[0])
	default:
		return p.address()
	}
}

// address is the address alone, ready for a port to follow.
func (p *peer) address() string {
	switch {
	case !p.addr.IsValid():
		return "an unknown address"
	case p.addr.Is6():
		return "[" + p.addr.String() + "]"
	default:
		return p.addr.String()
	}
}

// workloadName is namespace/kind/name, with the cluster where there is one, as contracts write it.
func workloadName(w *spoorv1.Workload) string { return printable(w.Path()) }

// Public says whether an address is on the Internet.
func Public(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}

// RFC 6598: carriers' NAT, and many clouds' pods.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

type nameKey struct {
	node string
	addr netip.Addr
}

// maxNames bounds the names of one address; big hosters put hundreds of sites behind one.
const maxNames = 16

// learn takes from any event what later judgements need: DNS answers, and what a node can see at all.
func (j *Judge) learn(ev *spoorv1.Event) {
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_FileChange:
		j.renamers.put(ev.GetNode(), struct{}{})
	case *spoorv1.Event_Dns:
		j.named.put(ev.GetNode(), struct{}{})
		learnNames(j.names, ev.GetNode(), fact.Dns)
	case *spoorv1.Event_Coverage:
		if fact.Coverage.GetSensor() != "dns" {
			return
		}
		if fact.Coverage.GetTier() == "off" {
			j.named.remove(ev.GetNode())
		} else {
			j.named.put(ev.GetNode(), struct{}{})
		}
	}
}

// learnNames remembers which name was asked for to get an address.
func learnNames(known *recent[nameKey, []string], node string, answer *spoorv1.Dns) {
	name := normalName(answer.GetName())
	if name == "" || len(name) > 253 {
		return
	}
	for _, a := range answer.GetAddresses()[:min(len(answer.GetAddresses()), 64)] {
		addr := parseAddr(a)
		if !addr.IsValid() {
			continue
		}
		key := nameKey{node, addr}
		names, _ := known.get(key)
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == maxNames {
			names = names[1:]
		}
		// A fresh slice: others may look at the old one.
		known.put(key, append(slices.Clone(names), name))
	}
}

// peerOf gathers what is known about the other end of a flow.
func peerOf(names *recent[nameKey, []string], node string, e *spoorv1.Endpoint) peer {
	p := peer{workload: e.GetWorkload(), addr: parseAddr(e.GetAddress()), text: e.GetAddress()}
	if p.workload.GetKind() == "" && p.workload.GetName() == "" {
		p.workload = nil
	}
	if name := e.GetDnsName(); name != "" {
		p.names = []string{normalName(name)}
	} else if names.len() > 0 {
		p.names, _ = names.get(nameKey{node, p.addr})
	}
	return p
}

func (j *Judge) peerOf(node string, e *spoorv1.Endpoint) peer {
	if e.GetDnsName() != "" && !j.seesNames(node) {
		j.named.put(node, struct{}{})
	}
	return peerOf(j.names, node, e)
}

func (j *Judge) seesNames(node string) bool {
	_, ok := j.named.get(node)
	return ok
}

// answer is what a contract says to a flow. When it says no, the other two tell what would make it a yes.
type answer struct {
	allowed bool
	// The peer's workload is not known, and the contract names a workload that it may be.
	workload bool
	// The peer's DNS name is not known, and the contract names one that it may have.
	name bool
}

var yes = answer{allowed: true}

// flow takes a summary of connections: flow.egress and flow.caller.
func (j *Judge) flow(w *workload, ev *spoorv1.Event, t time.Time) {
	f := ev.GetFlow()
	spec := &w.policy.contract.Spec
	rule := RuleFlowEgress
	switch f.GetDirection() {
	case spoorv1.Direction_DIRECTION_OUTBOUND:
		if spec.Calls == nil {
			return
		}
	case spoorv1.Direction_DIRECTION_INBOUND:
		if spec.Callers == nil || !arrived(f) {
			return
		}
		rule = RuleFlowCaller
	default:
		return
	}
	if transportOf(f.GetTransport()) == "" {
		return
	}
	p := j.peerOf(ev.GetNode(), f.GetPeer())
	sees := j.seesNames(ev.GetNode())
	switch a := j.ask(w, rule, ev, &p); {
	case a.allowed:
		j.absolve(w, rule, &p, ev, t)
	case a.workload, a.name && sees:
		j.hold(w, rule, &p, ev, t)
	default:
		j.release(w, rule, &p, f)
		j.deny(w, rule, &p, ev, t, a.name)
		if p.workload != nil || len(p.names) > 0 {
			// It has a verdict under its name now.
			j.absolve(w, rule, &p, ev, t)
		}
	}
}

// arrived says whether an inbound summary holds a connection that was made, not only attempts.
func arrived(f *spoorv1.Flow) bool {
	return f.GetOpened() > 0 || f.GetClosed() > 0 || f.GetBytesReceived() > 0 || f.GetBytesSent() > 0 ||
		f.GetRefused() == 0 && f.GetTimedOut() == 0
}

// servicePort is the port at the called side.
func servicePort(f *spoorv1.Flow) uint32 {
	if f.GetDirection() == spoorv1.Direction_DIRECTION_INBOUND {
		return f.GetLocal().GetPort()
	}
	return f.GetPeer().GetPort()
}

// ask looks a flow up in the contract.
func (j *Judge) ask(w *workload, rule string, ev *spoorv1.Event, p *peer) answer {
	f := ev.GetFlow()
	spec := &w.policy.contract.Spec
	port, transport := servicePort(f), transportOf(f.GetTransport())
	if ownBusiness(w.id, p, f) {
		return yes
	}
	// Who holds an address that is not on the Internet will mostly be known in a moment, and then the verdict can say it.
	stranger := answer{workload: p.workload == nil && p.addr.IsValid() && !Public(p.addr)}
	if rule == RuleFlowCaller {
		if kubelet(p.workload, ev.GetNode()) {
			return yes
		}
		return spec.allowsCaller(w.id, p, port, transport, stranger)
	}
	if spec.needsNames() && resolves(p, port, transport) {
		return yes
	}
	return spec.allowsCall(w.id, p, port, transport, stranger)
}

// ownBusiness says whether a flow stays within its workload: over loopback or its own address. Behind a pod's
// loopback there is nobody else, so nobody's identity is needed.
func ownBusiness(self *spoorv1.Workload, p *peer, f *spoorv1.Flow) bool {
	if !p.addr.IsLoopback() && (!p.addr.IsValid() || p.text != f.GetLocal().GetAddress()) {
		return false
	}
	if p.workload == nil {
		return !onPlainHost(self)
	}
	return p.workload.Same(self)
}

// resolves says whether a call asks a nearby resolver for a name.
func resolves(p *peer, port uint32, transport Transport) bool {
	return port == 53 && (transport == UDP || transport == TCP) && !Public(p.addr)
}

func (s *Spec) allowsCaller(self *spoorv1.Workload, p *peer, port uint32, transport Transport, a answer) answer {
	for i := range s.Callers {
		c := &s.Callers[i]
		switch {
		case c.Transport.orTCP() != transport || !c.Port.contains(port):
		case !c.CIDR.IsZero():
			if c.CIDR.Contains(p.addr) {
				return yes
			}
		case p.workload == nil:
			a.workload = true
		case c.Workload.matches(p.workload, self):
			return yes
		}
	}
	return a
}

func (s *Spec) allowsCall(self *spoorv1.Workload, p *peer, port uint32, transport Transport, a answer) answer {
	for i := range s.Calls {
		c := &s.Calls[i]
		switch {
		case c.Transport.orTCP() != transport || !c.Port.contains(port):
		case !c.CIDR.IsZero():
			if c.CIDR.Contains(p.addr) {
				return yes
			}
		case c.DNS != "":
			if slices.ContainsFunc(p.names, c.DNS.matches) {
				return yes
			}
			a.name = a.name || len(p.names) == 0
		case p.workload == nil:
			a.workload = true
		case c.Workload.matches(p.workload, self):
			return yes
		}
	}
	return a
}

// needsNames says whether the workload must resolve names to do what its contract allows.
func (s *Spec) needsNames() bool {
	for i := range s.Calls {
		if s.Calls[i].CIDR.IsZero() {
			return true
		}
	}
	return false
}

// kubelet says whether the caller is the kubelet of the same node, whose probes every pod must stand.
func kubelet(w *spoorv1.Workload, node string) bool {
	if w.GetKind() != "Unit" || w.GetNamespace() != node {
		return false
	}
	switch w.GetName() {
	case "kubelet.service", "k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service":
		return true
	default:
		return false
	}
}

// flowSubject is the subject of verdicts about a flow.
func flowSubject(rule string, p *peer, port uint32, transport Transport, nameless bool) string {
	at := strconv.FormatUint(uint64(port), 10) + "/" + string(transport)
	if rule == RuleFlowCaller {
		return callerName(p) + " -> " + at
	}
	if nameless {
		return "peers without a name:" + at
	}
	return p.String() + ":" + at
}

// callerName puts callers from outside together: their addresses change and are many.
func callerName(p *peer) string {
	switch {
	case p.workload != nil:
		return workloadName(p.workload)
	case Public(p.addr):
		return "the Internet"
	default:
		return callerRange(p.addr)
	}
}

func callerRange(a netip.Addr) string {
	bits := 24
	switch {
	case !a.IsValid():
		return "an unknown address"
	case a.IsLoopback():
		return a.String()
	case a.Is6():
		bits = 64
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return a.String()
	}
	return prefix.String()
}

// hostCIDR is the range that holds one address.
func hostCIDR(a netip.Addr) CIDR {
	if !a.IsValid() {
		return CIDR{}
	}
	return CIDR{netip.PrefixFrom(a, a.BitLen())}
}
