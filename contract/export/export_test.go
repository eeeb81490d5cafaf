// SPDX-License-Identifier: Apache-2.0

package export

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const checkout = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  scratch:
    - {path: /tmp/**, maxAge: 10m, maxBytes: 64Mi}
    - {path: /var/lib/app/*.part, maxAge: 10m}
    - {path: /app*, maxAge: 1m}
  volumes:
    - {path: /var/cache/tpl, class: cache}
    - {path: /var/lib/app, class: data}
    - {path: /var/lib/app/x.db, class: database}
  listens: [{port: 8443}, {port: 9000-9010}, {port: 8443, transport: udp}]
  callers:
    - {workload: shop/Deployment/frontend, port: 8443}
    - {workload: "*/Deployment/web"}
    - {workload: "*/*/*", port: 9005-9020}
    - {workload: node1/Unit/backup.service}
    - {workload: west/shop/Deployment/frontend}
    - {workload: shop/Deployment/unknown}
    - {workload: shop/Deployment/front*}
    - {cidr: 10.9.0.0/16}
    - {cidr: 10.9.0.0/16, port: 22}
  calls:
    - {workload: Deployment/payments, port: 8443}
    - {workload: data/StatefulSet/db, port: 5432, purpose: backing-service}
    - {dns: api.example.com, port: 443}
    - {dns: "*.stripe.com", port: 443}
    - {dns: "s3-*.example.com", port: 443}
    - {cidr: 10.20.0.0/16, port: 9000-9010, transport: udp}
    - {cidr: "fd00::/8"}
`

func parse(t testing.TB, text string) *contract.Contract {
	t.Helper()
	contracts, err := contract.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return contracts[0]
}

// A small cluster: what pods carry, and where they are.
type pod struct {
	workload *spoorv1.Workload
	labels   map[string]string
	addr     string
}

func newPod(namespace, kind, name, addr string) pod {
	return pod{&spoorv1.Workload{Namespace: namespace, Kind: kind, Name: name}, map[string]string{"app": name, "pod-template-hash": "x" + name}, addr}
}

var pods = []pod{
	newPod("shop", "Deployment", "checkout", "10.1.0.1"), newPod("shop", "Deployment", "frontend", "10.1.0.2"),
	newPod("shop", "Deployment", "payments", "10.1.0.3"), newPod("data", "StatefulSet", "db", "10.1.0.4"),
	newPod("lab", "Deployment", "payments", "10.1.0.5"), newPod("lab", "Deployment", "frontend", "10.1.0.6"),
	newPod("kube-system", "Deployment", "coredns", "10.1.0.7"),
}

var options = Options{
	Selector: func(namespace, kind, name string) (LabelSelector, bool) {
		for _, p := range pods {
			if p.workload.GetNamespace() == namespace && p.workload.GetKind() == kind && p.workload.GetName() == name {
				return withLabels("app", name), true
			}
		}
		return LabelSelector{}, false
	},
	Resolver: Pods{"kube-system", withLabels("app", "coredns")},
}

// withLabels selects by labels, each a key and a value.
func withLabels(pairs ...string) LabelSelector {
	s := LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		s.MatchLabels[pairs[i]] = pairs[i+1]
	}
	return s
}

func golden(t *testing.T, name string, object any, limits []Limit) {
	t.Helper()
	got, err := YAML(object, limits)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("differs from %s (write it anew with -update):\n%s", file, diff)
	}
}

func TestNetworkPolicy(t *testing.T) {
	p, limits, err := ToNetworkPolicy(parse(t, checkout), options)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "networkpolicy.yaml", p, limits)
	// What is written is what was meant.
	text, err := YAML(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	var back NetworkPolicy
	if err := yaml.UnmarshalWithOptions(text, &back, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*p, back); diff != "" {
		t.Error(diff)
	}
}

func TestCilium(t *testing.T) {
	p, limits, err := ToCilium(parse(t, checkout), options)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "cilium.yaml", p, limits)
}

func TestReadOnlyRoot(t *testing.T) {
	p, limits, err := ToReadOnlyRoot(parse(t, checkout), "app", nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "readonly.yaml", p, limits)
}

// Where a volume is mounted already it stays, and what would have failed is known by what was done.
func TestReadOnlyRootOfWhatIsThere(t *testing.T) {
	c := parse(t, checkout)
	p, limits, err := ToReadOnlyRoot(c, "app", []string{"/var/lib/app/", "/data"})
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, m := range p.Spec.Template.Spec.Containers[0].VolumeMounts {
		dirs = append(dirs, m.MountPath)
	}
	if diff := cmp.Diff([]string{"/tmp", "/var/cache/tpl"}, dirs); diff != "" || len(p.Spec.Template.Spec.Volumes) != 2 || len(limits) != 1 {
		t.Error(diff, limits)
	}
	w, err := p.Witness(c, []string{"/var/lib/app/", "/data"})
	if err != nil {
		t.Fatal(err)
	}
	layer, other := spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME
	did := func(workload *spoorv1.Workload, container, path string, class spoorv1.StorageClass, rename bool) {
		ev := &spoorv1.Event{
			Instance: &spoorv1.Instance{Workload: workload, ContainerName: container}, Process: &spoorv1.Process{Exe: "/usr/sbin/app"},
			Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: path, StorageClass: class}, Changes: 3}},
		}
		if rename {
			ev.Fact = &spoorv1.Event_FileChange{FileChange: &spoorv1.FileChange{File: &spoorv1.File{Path: path, StorageClass: class}}}
		}
		w.Observe(ev)
	}
	me := pods[0].workload
	for _, path := range []string{"/tmp/x", "/tmp", "/var/cache/tpl/y", "/var/lib/app/z", "/data/deep/er"} {
		did(me, "app", path, layer, false)
	}
	did(me, "proxy", "/etc/x", layer, false)
	did(me, "app", "/etc/x", other, false)
	did(pods[1].workload, "app", "/etc/x", layer, false)
	did(me, "app", "/etc/app/1234.conf", layer, false)
	did(me, "", "/etc/app/5678.conf", layer, true)
	did(me, "", "/etc/app/other", layer, true)
	did(me, "app", "/etc/app", layer, true) // its copy in the upper layer
	did(me, "app", "/tmpx/y", layer, false)
	did(me, "app", "/run/overlay/work/work/#7", layer, false)
	want := []Limit{
		{"/etc/app", contract.Narrower, "/usr/sbin/app changed /etc/app/*.conf, /etc/app/other in 3 events, the last at 1970-01-01 00:00:00 UTC, and would have failed: it needs a volume there"},
		{"/tmpx", contract.Narrower, "/usr/sbin/app changed /tmpx/y in 1 events, the last at 1970-01-01 00:00:00 UTC, and would have failed: it needs a volume there"},
	}
	if diff := cmp.Diff(want, w.Limits()); diff != "" {
		t.Error(diff)
	}
	for i := range 2 * maxBroken {
		did(me, "app", fmt.Sprintf("/opt/%c%c/x", 'a'+i%26, 'a'+i/26), layer, false) // three directories are there already
	}
	if limits := w.Limits(); len(limits) != maxBroken || !strings.Contains(limits[maxBroken-1].Why, "203 more") {
		t.Errorf("%d limits, the last: %v", len(limits), limits[len(limits)-1])
	}
}

func TestNothingAllowedAndNothingJudged(t *testing.T) {
	with := func(lists string) *contract.Contract {
		return parse(t, "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c, namespace: shop}\nspec:\n  workload: {kind: Deployment, name: checkout}\n"+lists)
	}
	p, limits, err := ToNetworkPolicy(with("  callers: []\n  calls: []\n"), options)
	if err != nil || limits != nil {
		t.Fatal(err, limits)
	}
	if diff := cmp.Diff(NetworkPolicySpec{PodSelector: withLabels("app", "checkout"), PolicyTypes: []string{"Ingress", "Egress"}}, p.Spec); diff != "" {
		t.Error(diff)
	}
	cilium, _, err := ToCilium(with("  callers: []\n  calls: []\n"), options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML(cilium, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "ingress:\n    - {}\n") || !strings.Contains(string(text), "egress:\n    - {}\n") {
		t.Errorf("an empty rule is not written:\n%s", text)
	}
	p, limits, err = ToNetworkPolicy(with("  listens: [{port: 80}]\n"), options)
	if err != nil || limits != nil {
		t.Fatal(err, limits)
	}
	if diff := cmp.Diff([]IngressRule{{Ports: []PolicyPort{{Protocol: "TCP", Port: PodPort{Number: 80}}}}}, p.Spec.Ingress); diff != "" || len(p.Spec.PolicyTypes) != 1 {
		t.Error(diff, p.Spec.PolicyTypes)
	}
	if p, limits, err = ToNetworkPolicy(with("  state: stateless\n"), options); err != nil || len(limits) != 1 || limits[0].Effect != contract.Wider {
		t.Error(err, limits)
	}
	// The API server makes one that restricts ingress of a policy without types.
	if diff := cmp.Diff(NetworkPolicySpec{PodSelector: p.Spec.PodSelector, PolicyTypes: []string{"Ingress"}, Ingress: []IngressRule{{}}}, p.Spec); diff != "" {
		t.Error(diff)
	}
}

// Whoever calls a service calls another port of the pods behind it, and that is what a policy is about.
func TestServices(t *testing.T) {
	c := parse(t, `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  calls:
    - {workload: Deployment/payments, port: 80}
    - {workload: Deployment/payments, port: 8443}
    - {workload: data/StatefulSet/db, port: 5000-6000}
    - {workload: "lab/*/*", port: 80}
`)
	with := options
	with.Resolver = Pods{}
	with.TemplateLabels = func(_, _, name string) map[string]string { return map[string]string{"app": name, "tier": "back"} }
	shop, data := Pods{"shop", withLabels("app", "payments", "tier", "back")}, Pods{"data", withLabels("app", "db")}
	with.Services = []Service{
		{Pods: shop, Port: 80, Target: PodPort{Name: "http"}},
		{Pods: shop, Port: 80, Transport: contract.UDP, Target: PodPort{Number: 1}},
		{Pods: Pods{"lab", shop.By}, Port: 80, Target: PodPort{Number: 2}},
		{Pods: Pods{"shop", withLabels("app", "other")}, Port: 80, Target: PodPort{Number: 3}},
		{Pods: data, Port: 5432, Target: PodPort{Number: 15432}},
		{Pods: data, Port: 7000, Target: PodPort{Number: 4}},
		{Pods: with.resolver(), Port: 53, Transport: contract.UDP, Target: PodPort{Number: 5353}},
	}
	policy, limits, err := ToNetworkPolicy(c, with)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]PolicyPort
	for _, rule := range policy.Spec.Egress {
		got = append(got, rule.Ports)
	}
	number := func(n uint16) PolicyPort { return PolicyPort{Protocol: "TCP", Port: PodPort{Number: n}} }
	want := [][]PolicyPort{
		{{Protocol: "TCP", Port: PodPort{Name: "http"}}},
		{number(8443)},
		{{Protocol: "TCP", Port: PodPort{Number: 5000}, EndPort: 6000}, number(15432)},
		{number(80)},
		{{Protocol: "UDP", Port: PodPort{Number: 5353}}, number(53)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(limits) != 1 || limits[0].Line != `- {workload: lab/*/*, port: 80}` || limits[0].Effect != contract.Narrower {
		t.Errorf("%v", limits)
	}
	cilium, _, err := ToCilium(c, with)
	if err != nil || cilium.Spec.Egress[0].ToPorts[0].Ports[0] != (CiliumPort{Port: "http", Protocol: "TCP"}) {
		t.Errorf("%v %+v", err, cilium)
	}
}

func TestWhatCannotBeExported(t *testing.T) {
	for selector, want := range map[string]string{
		`{kind: Deployment, name: "check*"}`:    `spec.workload.name is "check*"`,
		`{kind: Unit, name: a.service}`:         "a Unit is no pod",
		`{kind: Deployment, name: unknown}`:     "nobody said the labels",
		`{namespace: "*", matchLabels: {a: b}}`: `spec.workload.namespace is "*"`,
	} {
		c := parse(t, "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c, namespace: shop}\nspec: {workload: "+selector+"}\n")
		if _, _, err := ToNetworkPolicy(c, options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", selector, err)
		}
		if _, _, err := ToCilium(c, options); err == nil {
			t.Errorf("%s is exported for Cilium", selector)
		}
	}
	c := parse(t, "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec: {workload: {kind: Unit, name: a.service}}\n")
	if _, _, err := ToReadOnlyRoot(c, "", nil); err == nil {
		t.Error("a unit gets a read-only root")
	}
	c = parse(t, "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec: {workload: {kind: Deployment, matchLabels: {a: b}}}\n")
	if _, _, err := ToReadOnlyRoot(c, "", nil); err == nil || !strings.HasSuffix(err.Error(), "not into Deployment a=b") {
		t.Errorf("whoever has a label gets a read-only root: %v", err)
	}
}

// A contract that selects by labels needs no manifests, and says whom its policy concerns besides.
func TestPoliciesByLabels(t *testing.T) {
	expressions := []Expression{{"canary", "DoesNotExist", nil}, {"zone", "In", []string{"a", "b"}}}
	both := withLabels("tier", "front")
	both.MatchExpressions = expressions
	checkout := withLabels("app", "checkout")
	checkout.MatchExpressions = expressions
	nobody := withLabels("app", "checkout")
	nobody.MatchExpressions = []Expression{{"app", "In", []string{"other"}}}
	const written = "matchExpressions: [{key: canary, operator: DoesNotExist}, {key: zone, operator: In, values: [a, b]}]"
	for selector, want := range map[string]LabelSelector{
		`{matchLabels: {tier: front, app: web}}`:                           withLabels("tier", "front", "app", "web"),
		`{kind: Deployment, name: checkout, matchLabels: {track: canary}}`: withLabels("app", "checkout", "track", "canary"),
		`{kind: Deployment, name: checkout, matchLabels: {app: other}}`:    nobody,
		`{kind: Deployment, name: checkout, matchLabels: {app: checkout}}`: withLabels("app", "checkout"),
		`{` + written + `}`:                                   {MatchExpressions: expressions},
		`{matchLabels: {tier: front}, ` + written + `}`:       both,
		`{kind: Deployment, name: checkout, ` + written + `}`: checkout,
	} {
		c := parse(t, "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c, namespace: shop}\nspec: {listens: [{port: 80}], workload: "+selector+"}\n")
		limited := 1
		if c.Spec.Workload.Name != "" {
			limited = 0
		}
		p, limits, err := ToNetworkPolicy(c, options)
		if err != nil || len(limits) != limited || p.Metadata.Namespace != "shop" {
			t.Errorf("%s: %v %v", selector, err, limits)
		}
		if diff := cmp.Diff(want, p.Spec.PodSelector); diff != "" {
			t.Errorf("%s: %s", selector, diff)
		}
		cilium, limits, err := ToCilium(c, options)
		if err != nil || len(limits) != limited {
			t.Errorf("%s: %v %v", selector, err, limits)
		}
		if diff := cmp.Diff(want, cilium.Spec.EndpointSelector); diff != "" {
			t.Errorf("%s: %s", selector, diff)
		}
	}
}

// What belongs to an owner that finds its pods by expressions is found by these.
func TestPeersByExpressions(t *testing.T) {
	c := parse(t, "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c, namespace: shop}\nspec: {workload: {kind: Deployment, name: checkout}, callers: [{workload: Deployment/web}]}\n")
	o := options
	o.Selector = func(_, _, name string) (LabelSelector, bool) {
		return LabelSelector{MatchExpressions: []Expression{{"app", "In", []string{name}}}}, true
	}
	p, _, err := ToNetworkPolicy(c, o)
	if err != nil || len(p.Spec.Ingress) != 1 {
		t.Fatal(err, p)
	}
	if diff := cmp.Diff([]Expression{{"app", "In", []string{"web"}}}, p.Spec.Ingress[0].From[0].PodSelector.MatchExpressions); diff != "" {
		t.Error(diff)
	}
	cilium, _, err := ToCilium(c, o)
	if err != nil {
		t.Fatal(err)
	}
	want := LabelSelector{map[string]string{namespaceLabel: "shop"}, []Expression{{"k8s:app", "In", []string{"web"}}}}
	if diff := cmp.Diff([]LabelSelector{want}, cilium.Spec.Ingress[0].FromEndpoints); diff != "" {
		t.Error(diff)
	}
}

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

func TestVolumeNamesAreUniqueLabels(t *testing.T) {
	seen := map[string]bool{}
	for i, dir := range []string{"/tmp", "/Tmp", "/var/lib/a.b_c", "/" + strings.Repeat("x", 100), "/ü", "/-"} {
		name := volumeName(dir, i)
		if len(name) > 63 || seen[name] || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(name, "-") {
			t.Errorf("%s gives %q", dir, name)
		}
		seen[name] = true
	}
	if len(maps.Clone(seen)) != 6 {
		t.Error(seen)
	}
}
