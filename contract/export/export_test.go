// SPDX-License-Identifier: Apache-2.0

package export

import (
	"flag"
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
