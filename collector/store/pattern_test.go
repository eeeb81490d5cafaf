// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

func TestPattern(t *testing.T) {
	w := &spoorv1.Workload{Cluster: "prod", Namespace: "shop", Kind: "Deployment", Name: "checkout-v2"}
	host := &spoorv1.Workload{Namespace: "host1", Kind: "Unit", Name: "nginx.service"}
	for _, c := range []struct {
		pattern string
		w       *spoorv1.Workload
		selects bool
	}{
		{"checkout-v2", w, true},
		{"checkout", w, false},
		{"check*", w, true},
		{"*", w, true},
		{"*-v*", w, true},
		{"*-v*3", w, false},
		{"Deployment/checkout-v2", w, true},
		{"deployment/checkout-v2", w, false},
		{"shop/*/c*", w, true},
		{"other/Deployment/checkout-v2", w, false},
		{"prod/shop/Deployment/checkout-v2", w, true},
		{"/shop/Deployment/checkout-v2", w, false},
		{"p*d/s**p/Dep*ent/*2", w, true},
		{"/host1/Unit/nginx.service", host, true},
		{"*/host1/Unit/nginx.service", host, true},
		{"nginx?service", host, false},
		{"[n]ginx.service", host, false},
		{"*", nil, false},
	} {
		p, err := store.ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		if got := p.Match(c.w); got != c.selects {
			t.Errorf("%q selects %v: %v, want %v", c.pattern, c.w, got, c.selects)
		}
		again, err := store.ParsePattern(p.String())
		if err != nil || *again != *p {
			t.Errorf("%q is written %q and read back %v (%v)", c.pattern, p, again, err)
		}
	}
	for _, bad := range []string{"a/b/c/d/e", "a/", "a/b/c/"} {
		if _, err := store.ParsePattern(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if p, err := store.ParsePattern(""); p != nil || err != nil || !p.Match(nil) {
		t.Errorf("the empty pattern is %v (%v), want one that selects all", p, err)
	}
}

func TestPatternIsNotSlowOnPurpose(t *testing.T) {
	p, err := store.ParsePattern(strings.Repeat("*a", 500) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if p.Match(&spoorv1.Workload{Name: strings.Repeat("a", 100000)}) {
		t.Error("matched")
	}
}

func TestKindNames(t *testing.T) {
	for k := store.KindUnknown; k <= store.KindCoverage; k++ {
		if got, err := store.ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%v is read back as %v (%v)", k, got, err)
		}
	}
	if _, err := store.ParseKind("nothing"); err == nil || !strings.Contains(err.Error(), "file_write") {
		t.Errorf("error %v does not list the kinds", err)
	}
	// Each fact has a kind, named like its field.
	fields := (&spoorv1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range fields.Len() {
		ev := &spoorv1.Event{}
		ev.ProtoReflect().Mutable(fields.Get(i))
		if got := store.KindOf(ev).String(); got != string(fields.Get(i).Name()) {
			t.Errorf("the kind of fact %s is %s", fields.Get(i).Name(), got)
		}
	}
}

// FuzzPattern: what is read is written so that it is read again as the same, and matches what it says itself.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"", "nginx.service", "prod/shop/Deployment/*", "/host1/Unit/a*b*", "a/b/c/d/e", "a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := store.ParsePattern(s)
		if err != nil || p == nil {
			return
		}
		again, err := store.ParsePattern(p.String())
		if err != nil || *again != *p {
			t.Fatalf("%q is written as %q, and read as %v (%v)", s, p, again, err)
		}
		if w := (&spoorv1.Workload{Cluster: p.Cluster, Namespace: p.Namespace, Kind: p.Kind, Name: p.Name}); !p.Match(w) {
			t.Fatalf("%q does not match itself", p)
		}
	})
}
