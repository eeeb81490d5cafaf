// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

type portFactKey struct {
	port      uint32
	transport Transport
}

// peerKey tells peers apart by the best that is known of them: their workload, else a DNS name, else an address.
type peerKey struct {
	workload  workloadKey
	name      string
	addr      netip.Addr
	port      uint32
	transport Transport
}

// peerFact is a peer that a workload called, or that called it.
type peerFact struct {
	fact
	key      peerKey
	workload *spoorv1.Workload
	// Addresses that it was seen at; what is known by address alone may turn out to be one of these.
	addrs    map[netip.Addr]bool
	opened   uint64
	answered bool
}

func (s *lesson) listen(l *Learner, ev *spoorv1.Event, e *spoorv1.Listen, t time.Time) {
	transport := transportOf(e.GetTransport())
	if transport == "" || e.GetClosed() || e.GetLocal().GetPort() == 0 {
		return
	}
	key := portFactKey{e.GetLocal().GetPort(), transport}
	f := s.ports[key]
	if f == nil {
		if !s.isNew(l, t) {
			return
		}
		f = &fact{}
		s.ports[key] = f
	}
	f.add(ev, t)
}

func (s *lesson) flow(l *Learner, ev *spoorv1.Event, e *spoorv1.Flow, t time.Time) {
	transport := transportOf(e.GetTransport())
	p := peerOf(l.names, ev.GetNode(), e.GetPeer())
	if transport == "" || ownBusiness(s.id, &p, e) {
		return
	}
	facts := s.calls
	switch e.GetDirection() {
	case spoorv1.Direction_DIRECTION_OUTBOUND:
	case spoorv1.Direction_DIRECTION_INBOUND:
		if !arrived(e) || kubelet(p.workload, ev.GetNode()) {
			return
		}
		facts = s.callers
	default:
		return
	}
	key := peerKey{port: servicePort(e), transport: transport}
	switch {
	case p.workload != nil:
		key.workload = workloadKey{p.workload.GetCluster(), p.workload.GetNamespace(), p.workload.GetKind(), p.workload.GetName()}
	case len(p.names) > 0:
		key.name = p.names[len(p.names)-1]
	case p.addr.IsValid():
		key.addr = p.addr
	default:
		return
	}
	f := facts[key]
	if f == nil {
		if !s.isNew(l, t) {
			return
		}
		f = &peerFact{key: key, workload: p.workload, addrs: map[netip.Addr]bool{}}
		facts[key] = f
	}
	f.add(ev, t)
	f.opened += uint64(e.GetOpened())
	f.answered = f.answered || arrived(e)
	if len(f.addrs) < maxInstances && p.addr.IsValid() {
		f.addrs[p.addr] = true
	}
}

// peer is what is known of it, as a contract looks at peers.
func (f *peerFact) peer() *peer {
	p := &peer{workload: f.workload, addr: f.key.addr}
	if f.key.name != "" {
		p.names = []string{f.key.name}
	}
	if !p.addr.IsValid() {
		for addr := range f.addrs {
			if !p.addr.IsValid() || addr.Less(p.addr) {
				p.addr = addr
			}
		}
	}
	return p
}

// once says that a peer was met in one moment only.
func (f *peerFact) once() bool {
	return f.events == 1 && f.opened <= 1
}

// settled returns the peers without those by address that are known by name or workload elsewhere.
func settled(facts map[peerKey]*peerFact) []*peerFact {
	type at struct {
		addr      netip.Addr
		port      uint32
		transport Transport
	}
	known := map[at]bool{}
	for key, f := range facts {
		if !key.addr.IsValid() {
			for addr := range f.addrs {
				known[at{addr, key.port, key.transport}] = true
			}
		}
	}
	var out []*peerFact
	for key, f := range facts {
		if !key.addr.IsValid() || !known[at{key.addr, key.port, key.transport}] {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *peerFact) int { return comparePeers(a.key, b.key) })
	return out
}

// comparePeers puts workloads first, then names, then addresses.
func comparePeers(a, b peerKey) int {
	return cmp.Or(
		-cmp.Compare(boolean(a.workload != workloadKey{}), boolean(b.workload != workloadKey{})),
		-cmp.Compare(boolean(a.name != ""), boolean(b.name != "")),
		strings.Compare(a.workload.cluster, b.workload.cluster), strings.Compare(a.workload.namespace, b.workload.namespace),
		strings.Compare(a.workload.kind, b.workload.kind), strings.Compare(a.workload.name, b.workload.name),
		strings.Compare(a.name, b.name), a.addr.Compare(b.addr), cmp.Compare(a.port, b.port), strings.Compare(string(a.transport), string(b.transport)))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// peerLine is a line that is proposed for calls or callers.
type peerLine struct {
	who       string // for sorting and grouping
	workload  Ref
	dns       DNSName
	cidr      CIDR
	ports     Ports
	transport Transport
	facts     []*peerFact
}

func (l *peerLine) call() Call {
	return Call{Workload: l.workload, DNS: l.dns, CIDR: l.cidr, Port: l.ports, Transport: written(l.transport)}
}

func (l *peerLine) caller() Caller {
	return Caller{Workload: l.workload, CIDR: l.cidr, Port: l.ports, Transport: written(l.transport)}
}

// written leaves out what is meant anyway.
func written(t Transport) Transport {
	if t == TCP {
		return ""
	}
	return t
}

// peerLines makes lines of peers: replicas are one already; neighbours become a range, names below one domain a
// wildcard, ports that the kernel chose their range. Peers that no contract can name are returned beside.
func (s *lesson) peerLines(facts []*peerFact, callers bool) (lines []*peerLine, nameless []*peerFact) {
	byLine := map[string]*peerLine{}
	add := func(l peerLine, f *peerFact) {
		key := fmt.Sprint(l.workload, "|", l.dns, "|", l.cidr, "|", l.ports, "|", l.transport)
		have := byLine[key]
		if have == nil {
			have = &l
			have.who = key
			byLine[key] = have
			lines = append(lines, have)
		}
		have.facts = append(have.facts, f)
	}
	domains, networks := s.wide(facts, callers)
	for _, f := range facts {
		l := peerLine{ports: portOrNone(f.key.port), transport: f.key.transport}
		if !callers && anyPort.contains(f.key.port) && chosenPorts(facts, f.key) {
			l.ports = anyPort
		}
		switch {
		case f.workload != nil:
			l.workload = refTo(f.workload, s.id)
		case f.key.name != "" && !callers:
			name := f.key.name
			if parent := parentOf(name); domains[domainKey{parent, f.key.port, f.key.transport}] {
				name = "*." + parent
			}
			if new(DNSName).UnmarshalText([]byte(name)) == nil {
				l.dns = DNSName(name)
			}
		default:
			addr := f.peer().addr
			l.cidr = hostCIDR(addr)
			if wide, ok := networks[networkKey{networkOf(addr), f.key.port, f.key.transport}]; ok {
				l.cidr = wide
			}
			if callers && Public(addr) {
				l.cidr = everybody(addr)
			}
		}
		if l.workload == (Ref{}) && l.dns == "" && l.cidr.IsZero() {
			nameless = append(nameless, f)
			continue
		}
		add(l, f)
	}
	return lines, nameless
}

func everybody(a netip.Addr) CIDR {
	if a.Is4() {
		return CIDR{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	return CIDR{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

type domainKey struct {
	domain    string
	port      uint32
	transport Transport
}

type networkKey struct {
	network   netip.Prefix
	port      uint32
	transport Transport
}

// minWide is how many names of a domain, or addresses of a network, make one line.
const minWide = 4

// wide finds the domains and networks of which so many were called on one port that each may be called.
func (s *lesson) wide(facts []*peerFact, callers bool) (map[domainKey]bool, map[networkKey]CIDR) {
	names, addrs := map[domainKey]int{}, map[networkKey]int{}
	for _, f := range facts {
		if f.workload != nil {
			continue
		}
		if f.key.name != "" && !callers {
			names[domainKey{parentOf(f.key.name), f.key.port, f.key.transport}]++
		} else if a := f.key.addr; a.IsValid() && !Public(a) {
			// Neighbours on the Internet have nothing to do with each other.
			addrs[networkKey{networkOf(a), f.key.port, f.key.transport}]++
		}
	}
	domains, networks := map[domainKey]bool{}, map[networkKey]CIDR{}
	for key, n := range names {
		domains[key] = n >= minWide && key.domain != ""
	}
	for key, n := range addrs {
		if n >= minWide {
			networks[key] = CIDR{key.network}
		}
	}
	return domains, networks
}

// parentOf returns the domain above a name, "" when that may belong to many: example.com, but not com or co.uk.
func parentOf(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	labels := strings.Split(parent, ".")
	if len(labels) < 2 || len(labels) == 2 && len(labels[0]) <= 3 && len(labels[1]) == 2 {
		return ""
	}
	return parent
}

func networkOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// chosenPorts says whether a peer was called on several ports such as the kernel hands out.
func chosenPorts(facts []*peerFact, key peerKey) bool {
	n := 0
	for _, f := range facts {
		k := f.key
		k.port = key.port
		if k == key && anyPort.contains(f.key.port) {
			n++
		}
	}
	return n > 1
}

// seen says what a line rests on.
func (l *peerLine) seen() string {
	var opened uint64
	instances := map[instanceKey]bool{}
	var addrs int
	for _, f := range l.facts {
		opened += f.opened
		maps.Copy(instances, f.instances)
		addrs += len(f.addrs)
	}
	s := fmt.Sprintf("%s from %s", count(int(min(opened, 1<<40)), "connection"), count(len(instances), "instance"))
	if l.dns == "" && (l.workload == Ref{}) && addrs > 1 {
		s += fmt.Sprintf(", %d addresses", addrs)
	}
	return s
}

func (l *peerLine) once() bool {
	for _, f := range l.facts {
		if !f.once() {
			return false
		}
	}
	return len(l.facts) == 1
}

func (l *peerLine) answered() bool {
	return slices.ContainsFunc(l.facts, func(f *peerFact) bool { return f.answered })
}
