// SPDX-License-Identifier: Apache-2.0

package export

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
