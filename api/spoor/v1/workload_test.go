// SPDX-License-Identifier: Apache-2.0

package spoorv1

import "testing"

func TestWorkload(t *testing.T) {
	w := &Workload{Cluster: "prod", Namespace: "shop", Kind: "Deployment", Name: "cart"}
	for _, other := range []*Workload{
		nil,
		{Cluster: "test", Namespace: "shop", Kind: "Deployment", Name: "cart"},
		{Cluster: "prod", Namespace: "bank", Kind: "Deployment", Name: "cart"},
		{Cluster: "prod", Namespace: "shop", Kind: "Job", Name: "cart"},
		{Cluster: "prod", Namespace: "shop", Kind: "Deployment", Name: "till"},
	} {
		if w.Same(other) || other.Same(w) {
			t.Errorf("%v is taken for %v", w, other)
		}
	}
	if !w.Same(&Workload{Cluster: "prod", Namespace: "shop", Kind: "Deployment", Name: "cart"}) {
		t.Error("a workload is not the same as its copy")
	}
	if got, want := w.Path(), "prod/shop/Deployment/cart"; got != want {
		t.Errorf("Path() = %q, want %q", got, want)
	}
	w.Cluster = ""
	if got, want := w.Path(), "shop/Deployment/cart"; got != want {
		t.Errorf("Path() = %q, want %q", got, want)
	}
}

func TestNodeKinds(t *testing.T) {
	NodeKinds()[0] = "Deployment" // a copy
	if kinds := NodeKinds(); len(kinds) != 5 || !IsNodeKind(kinds[0]) || !IsNodeKind("Container") || IsNodeKind("Deployment") || IsNodeKind("Pod") {
		t.Errorf("%v", kinds)
	}
}
