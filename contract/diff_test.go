// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parseAll(t *testing.T, text string) []*Contract {
	t.Helper()
	contracts, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return contracts
}

func TestDiff(t *testing.T) {
	after := strings.NewReplacer(
		"payments, oncall: payments-primary", "checkout, oncall: checkout-primary",
		"maxAge: 10m, maxBytes: 1Mi", "maxAge: 20m, maxBytes: 512Ki",
		"    - {path: /run/app, maxAge: 1d}\n", "    - {path: /run/new, maxAge: 1d}\n",
		"class: cache", "class: data",
		"listens: [{port: 8443}]", "listens: [{port: 9443}]",
		"    - {cidr: 10.9.0.0/16}\n", "",
		"purpose: backing-service", "purpose: database",
		"  calls:\n", "  calls:\n    - {dns: api.example.com, port: 443}\n",
		"spec:\n", "spec:\n  state: stateful\n",
	).Replace(checkoutContract) + "---\n" + doc("new", `{kind: Unit, name: new}`)
	changes := Diff(parseAll(t, checkoutContract+"---\n"+doc("old", `{kind: Unit, name: old}`)), parseAll(t, after))
	var got []string
	for _, c := range changes {
		got = append(got, string(c.Effect)+" "+c.String())
	}
	want := []string{
		"wider old: the contract is gone: its workload is judged by another, or not at all\n  - workload: {kind: Unit, name: old}",
		"narrower new: the contract is new: its workload was judged by another, or not at all\n  + workload: {kind: Unit, name: new}",
		"neutral shop/checkout spec.owner: somebody else is asked or paged\n  - owner: {team: payments, oncall: payments-primary}\n  + owner: {team: checkout, oncall: checkout-primary}",
		"wider shop/checkout spec.state: files may be kept anywhere\n  - state: stateless\n  + state: stateful",
		"other shop/checkout spec.scratch: one limit is wider, the other narrower\n  - - {path: /tmp/**, maxAge: 10m, maxBytes: 1Mi}\n  + - {path: /tmp/**, maxAge: 20m, maxBytes: 512Ki}",
		"narrower shop/checkout spec.scratch: files are no longer allowed there\n  - - {path: /run/app, maxAge: 1d}",
		"wider shop/checkout spec.scratch: files are allowed there\n  + - {path: /run/new, maxAge: 1d}",
		"neutral shop/checkout spec.volumes: the files are called something else\n  - - {path: /var/cache/tpl, class: cache}\n  + - {path: /var/cache/tpl, class: data}",
		"narrower shop/checkout spec.listens: no longer allowed by a line of its own\n  - - {port: 8443}",
		"wider shop/checkout spec.listens: allowed by a new line\n  + - {port: 9443}",
		"narrower shop/checkout spec.callers: no longer allowed by a line of its own\n  - - {cidr: 10.9.0.0/16}",
		"neutral shop/checkout spec.calls: the purpose is another\n  - - {cidr: 10.20.0.0/16, port: 5432, purpose: backing-service}\n  + - {cidr: 10.20.0.0/16, port: 5432, purpose: database}",
		"wider shop/checkout spec.calls: allowed by a new line\n  + - {dns: api.example.com, port: 443}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	data, err := json.Marshal(changes[5])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"contract":"shop/checkout","field":"spec.scratch","old":"- {path: /run/app, maxAge: 1d}","effect":"narrower","why":"files are no longer allowed there"}`; string(data) != want {
		t.Errorf("got %s", data)
	}
}

func TestDiffOfTheSame(t *testing.T) {
	// Order, comments, and what is meant anyway.
	same := strings.NewReplacer(
		"listens: [{port: 8443}]", "listens: [{port: 8443, transport: tcp}] # the API",
		"    - {workload: Deployment/payments, port: 8443}\n    - {dns: \"*.stripe.com\", port: 443}\n", "    - {dns: \"*.STRIPE.com.\", port: 443}\n    - {port: 8443, workload: Deployment/payments}\n",
		"spec:\n", "spec:\n  state: stateless\n").Replace(checkoutContract)
	if got := Diff(parseAll(t, checkoutContract), parseAll(t, same)); got != nil {
		t.Errorf("%v", got)
	}
	if got := Diff(nil, nil); got != nil {
		t.Errorf("%v", got)
	}
}

func TestDiffOfWhatIsJudged(t *testing.T) {
	without := doc("c", `{kind: Unit, name: c}`)
	with := strings.Replace(without, "name: c}}", "name: c}, calls: [{dns: a.b}], state: stateless}", 1)
	for _, tc := range []struct {
		before, after string
		want          []Effect
	}{
		{without, with, []Effect{Narrower, Narrower, Neutral}},
		{with, without, []Effect{Wider, Wider, Neutral}},
	} {
		var got []Effect
		for _, c := range Diff(parseAll(t, tc.before), parseAll(t, tc.after)) {
			got = append(got, c.Effect)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
