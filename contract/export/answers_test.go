// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// What a policy says to a connection, as the API's documentation defines it.
func (p *NetworkPolicy) allows(inbound bool, other *pod, addr string, port uint16, protocol string) bool {
	match := func(selector *LabelSelector, labels map[string]string) bool {
		for key, value := range selector.MatchLabels {
			if labels[key] != value {
				return false
			}
		}
		return true
	}
	isPeer := func(peers []PolicyPeer) bool {
		for _, peer := range peers {
			if block := peer.IPBlock; block != nil {
				a := netip.MustParseAddr(addr)
				in := netip.MustParsePrefix(block.CIDR).Contains(a)
				for _, except := range block.Except {
					in = in && !netip.MustParsePrefix(except).Contains(a)
				}
				if in {
					return true
				}
				continue
			}
			if other != nil && match(peer.NamespaceSelector, map[string]string{namespaceName: other.workload.GetNamespace()}) && match(peer.PodSelector, other.labels) {
				return true
			}
		}
		return len(peers) == 0
	}
	isPort := func(ports []PolicyPort) bool {
		for _, p := range ports {
			if p.Protocol == protocol && (p.Port.Number == 0 || p.Port.Number <= port && port <= max(p.Port.Number, p.EndPort)) {
				return true
			}
		}
		return len(ports) == 0
	}
	if inbound {
		for _, rule := range p.Spec.Ingress {
			if isPeer(rule.From) && isPort(rule.Ports) {
				return true
			}
		}
		return false
	}
	for _, rule := range p.Spec.Egress {
		if isPeer(rule.To) && isPort(rule.Ports) {
			return true
		}
	}
	return false
}

// A NetworkPolicy gives the same answers as its contract to every flow, where nothing is among its limits.
func TestNetworkPolicyAnswersAsTheContract(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	ports := []uint16{22, 53, 443, 8443, 9000, 9005, 9011}
	answers := map[bool]int{}
	for range 300 {
		var b strings.Builder
		b.WriteString("apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c, namespace: shop}\nspec:\n  workload: {kind: Deployment, name: checkout}\n")
		who := func() string {
			return pick("workload: Deployment/frontend", "workload: lab/Deployment/payments", "workload: data/StatefulSet/db", `workload: "*/*/*"`, `workload: "lab/*/*"`, "cidr: 10.1.0.0/30", "cidr: 203.0.113.0/24", "cidr: 0.0.0.0/0")
		}
		at := func() string { return pick("", ", port: 8443", ", port: 9000-9010", ", port: 53, transport: udp") }
		list := func(name string, n int, entry func() string) {
			seen := map[string]bool{}
			fmt.Fprintf(&b, "  %s: [", name)
			for range n {
				if e := entry(); !seen[e] {
					seen[e] = true
					fmt.Fprintf(&b, "{%s}, ", e)
				}
			}
			b.WriteString("]\n")
		}
		if r.IntN(2) == 0 {
			list("listens", r.IntN(3), func() string { return pick("port: 8443", "port: 9000-9004", "port: 53, transport: udp") })
		}
		list("callers", r.IntN(4), func() string { return who() + at() })
		list("calls", r.IntN(4), func() string { return who() + at() })
		c := parse(t, b.String())
		policy, limits, err := ToNetworkPolicy(c, options)
		if err != nil {
			t.Fatal(err)
		}
		different := map[string]bool{}
		for _, l := range limits {
			if !strings.Contains(l.Why, "listens on none") {
				different[l.Line] = true
			}
		}
		if len(different) != 0 {
			t.Fatalf("limits %v of\n%s", limits, b.String())
		}
		for _, addr := range append([]string{"203.0.113.9", "198.51.100.1", "10.1.0.200"}, addresses()...) {
			other := podAt(addr)
			for _, port := range ports {
				for protocol, transport := range map[string]spoorv1.Transport{"TCP": spoorv1.Transport_TRANSPORT_TCP, "UDP": spoorv1.Transport_TRANSPORT_UDP} {
					for _, inbound := range []bool{true, false} {
						f := &spoorv1.Flow{
							Transport: transport, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, Opened: 1,
							Local: &spoorv1.Endpoint{Address: pods[0].addr}, Peer: &spoorv1.Endpoint{Address: addr, Port: uint32(port)},
						}
						if inbound {
							f.Direction = spoorv1.Direction_DIRECTION_INBOUND
							f.Local.Port, f.Peer.Port = uint32(port), 0
						}
						if other != nil {
							f.Peer.Workload = other.workload
						}
						want, _ := c.AllowsFlow(pods[0].workload, "node1", f)
						if inbound {
							open, judged := c.AllowsListen(uint32(port), transport)
							want = want && (open || !judged)
						} else if port == 53 && c.Spec.Calls != nil && needsNames(c) {
							continue // to resolvers only, where the contract allows any nearby address
						}
						if got := policy.allows(inbound, other, addr, port, protocol); got != want {
							t.Fatalf("%v: the policy says %v, the contract %v\n%s", f, got, want, b.String())
						}
						answers[want]++
					}
				}
			}
		}
	}
	if answers[true] < 1000 || answers[false] < 1000 {
		t.Errorf("too few answers of one kind: %v", answers)
	}
}

func addresses() []string {
	var all []string
	for _, p := range pods[1:] {
		all = append(all, p.addr)
	}
	return all
}

func podAt(addr string) *pod {
	for i := range pods {
		if pods[i].addr == addr {
			return &pods[i]
		}
	}
	return nil
}
