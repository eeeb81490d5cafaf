// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// object is a contract as the API server has it, with what it adds.
func object(namespace, name, workload string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "spoor.dev/v1", "kind": "Contract",
		"metadata": map[string]any{"name": name, "namespace": namespace, "uid": "u", "resourceVersion": "7", "managedFields": []any{}},
	}}
	if workload == "" {
		return o
	}
	parts := strings.Split(workload, "/")
	selector := map[string]any{"kind": parts[len(parts)-2], "name": parts[len(parts)-1]}
	for i, field := range []string{"namespace", "cluster"} {
		if len(parts) > 2+i {
			selector[field] = parts[len(parts)-3-i]
		}
	}
	o.Object["spec"] = map[string]any{"workload": selector, "listens": []any{map[string]any{"port": int64(80)}}}
	return o
}

// labelled is an object that selects by labels.
func labelled(namespace, name, kind string) *unstructured.Unstructured {
	o := object(namespace, name, "")
	workload := map[string]any{"matchLabels": map[string]any{"tier": "front"}}
	if kind != "" {
		workload["kind"] = kind
	}
	o.Object["spec"] = map[string]any{"workload": workload}
	return o
}

func TestObjects(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	s, err := New(Options{Config: &rest.Config{Host: "https://127.0.0.1:1"}, Cluster: "east", Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	files, err := contract.Parse("f.yaml", []byte("apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: ours, namespace: shop}\nspec: {workload: {cluster: east, kind: Deployment, name: ours}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func() float64 {
		t.Helper()
		all, err := registry.Gather()
		if err != nil || len(all) != 1 {
			t.Fatalf("%v: %v", all, err)
		}
		return all[0].GetMetric()[0].GetGauge().GetValue()
	}
	join := func() (names []string) {
		t.Helper()
		if !s.Changed() {
			t.Error("nothing changed")
		}
		set, err := s.Join(files)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range set.Contracts() {
			w := c.Spec.Workload
			names = append(names, strings.Join([]string{c.FullName(), string(w.Cluster), string(w.Namespace), string(w.Kind), string(w.Name)}, " "))
		}
		slices.Sort(names)
		return names
	}
	all := []any{
		object("shop", "checkout", "Deployment/checkout"), object("shop", "batch", "shop/Job/batch-*"), object("lab", "mine", "east/lab/Deployment/checkout"),
		// What speaks for others, or is wrong.
		object("lab", "other", "shop/Deployment/payments"), object("lab", "wide", "*/Deployment/x"), object("lab", "far", "west/lab/Deployment/y"),
		object("node1", "unit", "Unit/sshd.service"), object("node1", "any", "*/z"), object("lab", "none", ""),
		// What a file says, and what another object says already.
		object("shop", "theirs", "Deployment/ours"), object("shop", "twice", "Deployment/checkout"),
		labelled("shop", "fronts", "Deployment"), labelled("node1", "fronts", ""),
	}
	if err := s.Replace(all, ""); err != nil {
		t.Fatal(err)
	}
	want := []string{"lab/mine east lab Deployment checkout", "node1/any east node1 * z", "node1/fronts east node1  ", "shop/batch east shop Job batch-*", "shop/checkout east shop Deployment checkout", "shop/fronts east shop Deployment ", "shop/ours east  Deployment ours"}
	if diff := cmp.Diff(want, join()); diff != "" {
		t.Error(diff)
	}
	if s.Changed() || refused() != 7 || strings.Count(log.String(), "refused") != 7 {
		t.Errorf("%v are refused, and told as\n%s", refused(), log.String())
	}
	// A mistake leaves the last good version in force, and is told once.
	log.Reset()
	broken := object("shop", "checkout", "Deployment/checkout")
	broken.Object["spec"].(map[string]any)["listens"] = "everything"
	for range 2 {
		if err := s.Update(broken); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, join()); diff != "" {
			t.Error(diff)
		}
	}
	if strings.Count(log.String(), "object=shop/checkout") != 1 {
		t.Errorf("told as\n%s", log.String())
	}
	if err := s.Delete(broken); err != nil {
		t.Fatal(err)
	}
	want = append(slices.Delete(want, 4, 5), "shop/twice east shop Deployment checkout") // free to speak now
	if diff := cmp.Diff(want, join()); diff != "" {
		t.Error(diff)
	}
}

// A namespace may be called as a node is: what an object says there without a kind is about pods, and never about the node's own containers.
func TestObjectsWithoutKind(t *testing.T) {
	s, err := New(Options{Config: &rest.Config{Host: "https://127.0.0.1:1"}, Cluster: "east", Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	expression := object("node1", "live", "")
	expression.Object["spec"] = map[string]any{"workload": map[string]any{"matchExpressions": []any{map[string]any{"key": "canary", "operator": "DoesNotExist"}}}}
	if err := s.Replace([]any{labelled("node1", "fronts", ""), object("node1", "any", "*/z*"), expression}, ""); err != nil {
		t.Fatal(err)
	}
	set, err := s.Join(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		cluster, namespace, kind, name string
		labels                         map[string]string
		want                           string
	}{
		{"east", "node1", "Deployment", "web", map[string]string{"tier": "front"}, "node1/fronts"},
		{"east", "node1", "Rollout", "web", map[string]string{"tier": "front", "canary": ""}, "node1/fronts"},
		{"east", "node1", "Pod", "web", nil, "node1/live"},
		{"east", "node1", "Job", "zip", map[string]string{"canary": ""}, "node1/any"},
		{"east", "node1", "Container", "web", map[string]string{"tier": "front"}, ""},
		{"east", "node1", "Container", "zip", nil, ""},
		{"east", "node1", "Unit", "zebra.service", nil, ""},
		{"east", "node2", "Deployment", "web", map[string]string{"tier": "front"}, ""},
		{"west", "node1", "Deployment", "web", map[string]string{"tier": "front"}, ""},
	} {
		c, sure := set.For(&spoorv1.Workload{Cluster: tc.cluster, Namespace: tc.namespace, Kind: tc.kind, Name: tc.name},
			contract.LabelsOf(&spoorv1.Instance{Labels: tc.labels, LabelsKnown: true}))
		got := ""
		if c != nil {
			got = c.FullName()
		}
		if got != tc.want || !sure {
			t.Errorf("%s/%s/%s/%s has the contract %q, sure: %v, want %q", tc.cluster, tc.namespace, tc.kind, tc.name, got, sure, tc.want)
		}
	}
}
