// SPDX-License-Identifier: Apache-2.0

package formats_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/cilium/pkg/identity"
	k8s "github.com/cilium/cilium/pkg/k8s/apis/cilium.io"
	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/testutils"
	policytypes "github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/policy/utils"
	"github.com/cilium/cilium/pkg/u8proto"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	"sigs.k8s.io/yaml"
)

// What a CiliumNetworkPolicy says is decided by Cilium's own simulator, which its engine is tested against, of what its own parser makes of the text.
func TestCiliumNetworkPolicyReplay(t *testing.T) {
	s := openShop(t)
	replay(t, s, "cilium", func(text []byte) decider { return newCilium(t, s, text).allows }, func(line string, other *matcher.TrafficPeer) bool {
		// Ranges of addresses mean nobody inside of the cluster, which the export says, and outside whom the line means.
		return strings.Contains(line, "cidr: ") && other.Internal == nil && !s.nodes[other.IP]
	})
}

// clusterName is what Cilium calls the cluster: what a policy says is about pods of that one.
const clusterName = "lab"

// cilium is a policy as Cilium has it before anything goes to the kernel.
type cilium struct {
	t       *testing.T
	shop    *shop
	entries policytypes.PolicyEntries
}

// newCilium has Cilium read a policy and hold it against its own rules.
func newCilium(t *testing.T, s *shop, text []byte) *cilium {
	t.Helper()
	made := &ciliumv2.CiliumNetworkPolicy{}
	if err := yaml.UnmarshalStrict(text, made); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	rules, err := made.Parse(slog.New(slog.DiscardHandler), clusterName)
	if err != nil {
		t.Fatalf("Cilium does not take the policy: %v:\n%s", err, text)
	}
	entries := utils.RulesToPolicyEntries(rules)
	for _, e := range entries {
		// An empty rule lets nobody through (mergeL4Filter in its pkg/policy/rule.go), where the simulator would let everybody.
		if len(e.L3) == 0 && len(e.L4) == 0 {
			e.L3 = nil
		}
	}
	return &cilium{t, s, entries}
}

// identity is what Cilium knows of an end of a flow: the labels of a pod, a node, or an address outside of the cluster.
func (c *cilium) identity(p *matcher.TrafficPeer) *identity.Identity {
	c.t.Helper()
	all := labels.Labels{}
	switch {
	case p.Internal != nil:
		for key, value := range p.Internal.PodLabels {
			all[key] = labels.NewLabel(key, value, labels.LabelSourceK8s)
		}
		for key, value := range map[string]string{k8s.PodNamespaceLabel: p.Internal.Namespace, k8s.PolicyLabelCluster: clusterName} {
			all[key] = labels.NewLabel(key, value, labels.LabelSourceK8s)
		}
	case c.shop.nodes[p.IP]:
		all = labels.LabelRemoteNode
	default:
		address, err := netip.ParseAddr(p.IP)
		if err != nil {
			c.t.Fatal(err)
		}
		all = labels.GetCIDRLabels(netip.PrefixFrom(address, address.BitLen()))
	}
	return identity.NewIdentity(0, all)
}

// allows says whether the policy lets a flow through in one direction.
func (c *cilium) allows(traffic *matcher.Traffic, inbound bool) bool {
	c.t.Helper()
	flow := policytypes.Flow{
		From: c.identity(traffic.Source), To: c.identity(traffic.Destination), Proto: u8proto.TCP, Dport: uint16(traffic.ResolvedPort), //nolint:gosec // a port
	}
	if traffic.Protocol == "UDP" {
		flow.Proto = u8proto.UDP
	}
	verdict, _, _ := testutils.IteratePolicy(c.entries, flow)
	if inbound {
		return verdict.Ingress == policytypes.DecisionAllowed
	}
	return verdict.Egress == policytypes.DecisionAllowed
}
