// SPDX-License-Identifier: Apache-2.0

package formats_test

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// removed is a contract as it is, without one of its lines, and for some of its pods.
func removed(c *contract.Contract) []*contract.Contract {
	all := []*contract.Contract{c}
	each := func(n int, drop func(*contract.Contract, int)) {
		for i := range n {
			other := *c
			drop(&other, i)
			all = append(all, &other)
		}
	}
	each(len(c.Spec.Listens), func(o *contract.Contract, i int) {
		o.Spec.Listens = slices.Delete(slices.Clone(o.Spec.Listens), i, i+1)
	})
	each(len(c.Spec.Callers), func(o *contract.Contract, i int) {
		o.Spec.Callers = slices.Delete(slices.Clone(o.Spec.Callers), i, i+1)
	})
	each(len(c.Spec.Calls), func(o *contract.Contract, i int) { o.Spec.Calls = slices.Delete(slices.Clone(o.Spec.Calls), i, i+1) })
	// What it does not speak of is not restricted.
	each(1, func(o *contract.Contract, _ int) { o.Spec.Calls = nil })
	each(1, func(o *contract.Contract, _ int) { o.Spec.Callers = nil })
	// What its labels narrow it to: the same pods, and none of them. Cyclonus takes NotIn for false where there is no such label, unlike the API server.
	for _, operator := range []contract.Operator{contract.Exists, contract.DoesNotExist} {
		each(1, func(o *contract.Contract, _ int) {
			o.Spec.Workload.MatchExpressions = []contract.Expression{{Key: "app", Operator: operator}, {Key: "app", Operator: contract.NotIn, Values: []string{"", "nobody"}}, {Key: "canary", Operator: contract.DoesNotExist}}
		})
	}
	return all
}

// aboutItsPods is false for a contract that removed made to be about none of the pods of its workload: no policy of it restricts them.
func aboutItsPods(c *contract.Contract) bool {
	return !slices.ContainsFunc(c.Spec.Workload.MatchExpressions, func(e contract.Expression) bool { return e.Key == "app" && e.Operator == contract.DoesNotExist })
}

// narrower takes the lines out of a contract that its export says that it could not express.
func narrower(c *contract.Contract, lines []string) *contract.Contract {
	o := *c
	o.Spec.Callers = slices.DeleteFunc(slices.Clone(o.Spec.Callers), func(line contract.Caller) bool { return slices.Contains(lines, contract.Line(line)) })
	o.Spec.Calls = slices.DeleteFunc(slices.Clone(o.Spec.Calls), func(line contract.Call) bool { return slices.Contains(lines, contract.Line(line)) })
	return &o
}

// export makes a policy of a contract with the program, and returns the lines that it says are not in it.
func export(t *testing.T, c *contract.Contract, as, cluster string) (policy []byte, lines []string) {
	t.Helper()
	text, err := contract.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "contract.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), *spoor, "contract", "export", as, file, "--manifests", cluster)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("%v: %s", err, problem.Bytes())
	}
	for line := range strings.Lines(string(out)) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "# narrower than the contract: "); ok {
			lines = append(lines, what)
		} else if strings.HasPrefix(line, "# wider") && !strings.HasPrefix(line, "# wider than the contract: spec") {
			t.Fatalf("nothing in the shop's contracts is wider: %s", line)
		}
	}
	return out, lines
}

// decider says whether a policy lets a flow through in one direction.
type decider func(traffic *matcher.Traffic, inbound bool) bool

// replay asks policies of contracts that were learned from a recording, and of what is left of those without a line, about each flow
// of the recording, and compares with what the contract says. Others decide what a policy says; what they have to know of a connection is what the cluster does with it: a
// service's address and port become a pod's. Of the lines that an export lists as not expressed, some may be in force for some flows.
func replay(t *testing.T, s *shop, as string, read func(policy []byte) decider, inForce func(line string, other *matcher.TrafficPeer) bool) {
	t.Helper()
	answers, narrowed := map[bool]int{}, 0
	for _, learned := range s.learn(t) {
		if s.owner(learned) == nil {
			continue // a pod without an owner, or a plan for jobs: it has no labels to be selected by
		}
		for _, c := range removed(learned) {
			text, lines := export(t, c, as, s.cluster)
			allows := read(text)
			for _, ev := range s.events {
				self := ev.GetInstance().GetWorkload()
				if ev.GetFlow() == nil || self.GetKind() != string(c.Spec.Workload.Kind) || self.GetName() != string(c.Spec.Workload.Name) {
					continue
				}
				traffic, inbound := s.traffic(t, ev)
				if traffic == nil {
					continue
				}
				other := traffic.Destination
				if inbound {
					other = traffic.Source
				}
				missing := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return inForce(line, other) })
				got, want := allows(traffic, inbound), !aboutItsPods(c) || answer(narrower(c, missing), ev)
				if got != want {
					t.Errorf("%s: the policy says %v, the contract %v, to\n\t%v\n\tas %s\n%s", c.FullName(), got, want, ev.GetFlow(), traffic.Table(), text)
				}
				if aboutItsPods(c) && want != answer(c, ev) {
					narrowed++
				}
				answers[got]++
			}
		}
	}
	t.Logf("%d flows allowed, %d refused; %d of these because of lines that a policy cannot express, and that are listed; of kubelets: %d", answers[true], answers[false], narrowed, s.kubelets)
	if answers[true] < 100 || answers[false] < 100 || narrowed == 0 || t.Failed() {
		t.Errorf("few answers: %v", answers)
	}
}

// What a NetworkPolicy says is decided by Cyclonus.
func TestNetworkPolicyReplay(t *testing.T) {
	replay(t, openShop(t), "networkpolicy", func(text []byte) decider {
		policy := &networkingv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict(text, policy); err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		matched := matcher.BuildNetworkPolicies(true, []*networkingv1.NetworkPolicy{policy})
		return func(traffic *matcher.Traffic, inbound bool) bool {
			return matched.IsIngressOrEgressAllowed(traffic, inbound).IsAllowed()
		}
	}, func(string, *matcher.TrafficPeer) bool { return false })
}

// answer is what a contract says to a flow, its listeners included: a policy refuses what nobody may listen on.
func answer(c *contract.Contract, ev *spoorv1.Event) bool {
	f := ev.GetFlow()
	allowed, _ := c.AllowsFlow(ev.GetInstance().GetWorkload(), ev.GetNode(), f)
	if f.GetDirection() == spoorv1.Direction_DIRECTION_INBOUND {
		open, judged := c.AllowsListen(f.GetLocal().GetPort(), f.GetTransport())
		allowed = allowed && (open || !judged)
	}
	return allowed
}

// traffic is a flow as a policy sees it; nil for what no policy is asked about.
func (s *shop) traffic(t *testing.T, ev *spoorv1.Event) (traffic *matcher.Traffic, inbound bool) {
	t.Helper()
	f := ev.GetFlow()
	inbound = f.GetDirection() == spoorv1.Direction_DIRECTION_INBOUND
	peer, err := netip.ParseAddr(f.GetPeer().GetAddress())
	if err != nil {
		t.Fatal(err)
	}
	// A pod reaches itself, and its node reaches it, whatever policies say.
	if peer.IsLoopback() || f.GetPeer().GetAddress() == f.GetLocal().GetAddress() {
		return nil, inbound
	}
	if w := f.GetPeer().GetWorkload(); inbound && w.GetName() == "kubelet.service" && w.GetNamespace() == ev.GetNode() {
		s.kubelets++
		return nil, inbound
	}
	traffic = &matcher.Traffic{Protocol: corev1.ProtocolTCP, ResolvedPort: int(f.GetLocal().GetPort())}
	if f.GetTransport() == spoorv1.Transport_TRANSPORT_UDP {
		traffic.Protocol = corev1.ProtocolUDP
	}
	me := s.peer(func(p *pod) bool { return p.Metadata.UID == ev.GetInstance().GetPodUid() }, f.GetLocal().GetAddress())
	if me.Internal == nil {
		return nil, inbound // in its node's network
	}
	if inbound {
		traffic.Source, traffic.Destination = s.peer(func(p *pod) bool { return p.Status.PodIP == peer.String() }, peer.String()), me
		return traffic, inbound
	}
	traffic.Source, traffic.ResolvedPort = me, int(f.GetPeer().GetPort())
	traffic.Destination = s.peer(func(p *pod) bool { return p.Status.PodIP == peer.String() }, peer.String())
	called := int32(f.GetPeer().GetPort()) //nolint:gosec // a port
	for _, service := range s.services {
		here := service.Spec.ClusterIP == peer.String()
		for _, port := range service.Spec.Ports {
			if (here && port.Port == called || s.nodes[peer.String()] && port.NodePort == called) && cmp.Or(port.Protocol, "TCP") == string(traffic.Protocol) {
				traffic.ResolvedPort = port.TargetPort
				traffic.Destination = s.peer(func(p *pod) bool { return covers(service.Spec.Selector, p.Metadata.Labels) }, "")
			}
		}
		if here && traffic.Destination.Internal == nil {
			t.Fatalf("nobody is behind %v", f)
		}
	}
	return traffic, inbound
}

// peer is a pod that somebody wants, or an address outside. What is in its node's network is outside: it has its node's address.
func (s *shop) peer(is func(*pod) bool, address string) *matcher.TrafficPeer {
	i := slices.IndexFunc(s.pods, func(p *pod) bool { return !p.Spec.HostNetwork && is(p) })
	if i < 0 {
		return &matcher.TrafficPeer{IP: address}
	}
	p := s.pods[i]
	return &matcher.TrafficPeer{IP: p.Status.PodIP, Internal: &matcher.InternalPeer{
		PodLabels: p.Metadata.Labels, Namespace: p.Metadata.Namespace, NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": p.Metadata.Namespace},
	}}
}

func covers(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

// learn makes contracts of the recording with the program.
func (s *shop) learn(t *testing.T) []*contract.Contract {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), *spoor, "contract", "learn", "--recording", s.recording, "--workload", "shop/*/*",
		"--for", "1s", "--quiet", "1s", "--instances", "1").Output()
	if err != nil {
		t.Fatal(err)
	}
	learned, err := contract.Parse("learned.yaml", out)
	if err != nil || len(learned) < 8 {
		t.Fatalf("%d contracts: %v", len(learned), err)
	}
	return learned
}

// owner is who makes the pods of a contract's workload, if the cluster says by which labels.
func (s *shop) owner(c *contract.Contract) *object {
	i := slices.IndexFunc(s.owners, func(o *object) bool {
		return o.Kind == string(c.Spec.Workload.Kind) && o.Metadata.Name == string(c.Spec.Workload.Name)
	})
	if i < 0 {
		return nil
	}
	return s.owners[i]
}
