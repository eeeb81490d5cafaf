// SPDX-License-Identifier: Apache-2.0

package export

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/contract"
)

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
