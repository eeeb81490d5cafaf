// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// doc writes a contract that selects by one flow mapping.
func doc(name, workload string) string {
	return fmt.Sprintf("apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: %s}\nspec: {workload: %s}\n", name, workload)
}

func mustSet(t testing.TB, docs ...string) *Set {
	t.Helper()
	contracts, err := Parse("test.yaml", []byte(strings.Join(docs, "---\n")))
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewSet(contracts...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPrecedence(t *testing.T) {
	set := mustSet(t,
		doc("everything", `{kind: "*", name: "*"}`),
		doc("units", `{kind: Unit, name: "*"}`),
		doc("shop", `{namespace: shop, kind: "*", name: "*"}`),
		doc("deployments", `{kind: Deployment, name: "*"}`),
		doc("checkouts", `{kind: Deployment, name: "checkout*"}`),
		doc("checkout-v", `{kind: Deployment, name: "checkout-v*"}`),
		doc("checkout", `{kind: Deployment, name: checkout}`),
		doc("shop-checkout", `{namespace: shop, kind: Deployment, name: checkout}`),
		doc("east-checkout", `{cluster: east, namespace: shop, kind: Deployment, name: checkout}`),
		doc("any-frontend", `{kind: "*", name: frontend}`),
		doc("unit", `{kind: Unit, name: "getty@tty1.service"}`),
		doc("escaped", `{kind: Unit, name: 'systemd-cryptsetup@luks\x2d1.service'}`),
	)
	for _, tc := range []struct {
		workload *spoorv1.Workload
		want     string
	}{
		{&spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "checkout"}, "east-checkout"},
		{&spoorv1.Workload{Cluster: "west", Namespace: "shop", Kind: "Deployment", Name: "checkout"}, "shop-checkout"},
		{&spoorv1.Workload{Namespace: "other", Kind: "Deployment", Name: "checkout"}, "checkout"},
		{&spoorv1.Workload{Namespace: "other", Kind: "Deployment", Name: "checkout-v2"}, "checkout-v"},
		{&spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: "checkout2"}, "checkouts"},
		{&spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: "payments"}, "shop"}, // namespace weighs more than kind
		{&spoorv1.Workload{Namespace: "other", Kind: "Deployment", Name: "payments"}, "deployments"},
		{&spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: "frontend"}, "any-frontend"},
		{&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "getty@tty1.service"}, "unit"},
		{&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: `systemd-cryptsetup@luks\x2d1.service`}, "escaped"},
		{&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "nginx.service"}, "units"},
		{&spoorv1.Workload{Namespace: "node1", Kind: "Session", Name: "1"}, "everything"},
	} {
		if c, sure := set.For(tc.workload, Labels{}); c.FullName() != tc.want || !sure {
			t.Errorf("%v has contract %s (sure: %v), want %s", tc.workload, c.FullName(), sure, tc.want)
		}
	}
	if got := set.Contracts()[0].FullName(); got != "east-checkout" {
		t.Errorf("the first by precedence is %s", got)
	}
}

func TestNoContract(t *testing.T) {
	set := mustSet(t, doc("checkout", `{kind: Deployment, name: checkout}`))
	for _, w := range []*spoorv1.Workload{{Kind: "Deployment", Name: "other"}, nil} {
		if c, sure := set.For(w, Labels{}); c != nil || !sure {
			t.Errorf("got %v, sure: %v", c, sure)
		}
	}
	var none *Set
	if c, sure := none.For(&spoorv1.Workload{}, Labels{}); c != nil || !sure || none.Len() != 0 || none.Contracts() != nil {
		t.Error("a nil set is not empty")
	}
}

// metadata.namespace selects too, unless spec.workload.namespace is written.
func TestNamespaceOfMetadata(t *testing.T) {
	set := mustSet(t, strings.Replace(doc("c", `{kind: Deployment, name: c}`), "{name: c}\n", "{name: c, namespace: shop}\n", 1),
		strings.Replace(doc("d", `{kind: Deployment, name: d, namespace: "*"}`), "{name: d}\n", "{name: d, namespace: shop}\n", 1))
	for w, want := range map[*spoorv1.Workload]bool{
		{Namespace: "shop", Kind: "Deployment", Name: "c"}:  true,
		{Namespace: "other", Kind: "Deployment", Name: "c"}: false,
		{Namespace: "other", Kind: "Deployment", Name: "d"}: true,
	} {
		if c, _ := set.For(w, Labels{}); (c != nil) != want {
			t.Errorf("%v: %v", w, c)
		}
	}
}

func TestLoad(t *testing.T) {
	set, err := Load(fstest.MapFS{
		"shop/checkout.yaml":        {Data: []byte(doc("checkout", `{kind: Deployment, name: checkout}`))},
		"shop/deep/payments.yml":    {Data: []byte(doc("payments", `{kind: Deployment, name: payments}`))},
		"README.md":                 {Data: []byte("no contract")},
		".git/config.yaml":          {Data: []byte("no contract")},
		".github/workflows/ci.yaml": {Data: []byte("no contract")},
		".hidden.yaml":              {Data: []byte("no contract")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 {
		t.Errorf("%d contracts", set.Len())
	}
	payments, _ := set.For(&spoorv1.Workload{Kind: "Deployment", Name: "payments"}, Labels{})
	file, line := payments.Position()
	if file != "shop/deep/payments.yml" || line != 1 {
		t.Errorf("found at %s:%d", file, line)
	}
}

func TestLoadTellsEverything(t *testing.T) {
	set, err := Load(fstest.MapFS{
		"a.yaml": {Data: []byte(doc("same", `{kind: Deployment, name: checkout}`))},
		"b.yaml": {Data: []byte(doc("same", `{kind: Deployment, name: checkout, namespace: "*"}`))},
		"c.yaml": {Data: []byte("x: 1")},
		"d.yaml": {Data: []byte(doc("d", `{kind: Deployment}`))},
	})
	if set != nil {
		t.Error("a set beside an error")
	}
	want := []string{
		"c.yaml:1:1: apiVersion is missing; add apiVersion: spoor.dev/v1",
		"c.yaml:1:1: kind is missing; add kind: Contract",
		"c.yaml:1:1: metadata is missing; add metadata: {name: ...}",
		"c.yaml:1:1: spec is missing; add spec: {workload: {kind: ..., name: ...}}",
		`c.yaml:1:1: unknown field "x"; leave it out; the fields here are apiVersion, kind, metadata and spec`,
		"d.yaml:4:18: spec.workload.name is missing; add name: ...",
		"b.yaml:1:1: a second contract for Deployment checkout; the first is a.yaml:1; keep one of them, or narrow one with namespace or cluster",
		"b.yaml:1:1: a second contract with the name same; the first is a.yaml:1; give each its own metadata.name",
	}
	got := strings.Split(fmt.Sprint(err), "\n")
	for _, line := range want {
		if !strings.Contains(fmt.Sprint(err), line) {
			t.Errorf("not told: %s", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d lines:\n%v", len(got), err)
	}
	if _, ok := errors.AsType[*ParseError](err); !ok {
		t.Error("no *ParseError")
	}
}

// A ConfigMap is mounted as links to files in a folder whose name begins with two dots, which is a link itself.
func TestLoadMountedConfigMap(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "..2026_01_01_00_00_00.1")
	for _, err := range []error{
		os.Mkdir(data, 0o755),
		os.WriteFile(filepath.Join(data, "checkout.yaml"), []byte(doc("checkout", `{kind: Deployment, name: checkout}`)), 0o644),
		os.Symlink(filepath.Base(data), filepath.Join(dir, "..data")),
		os.Symlink(filepath.Join("..data", "checkout.yaml"), filepath.Join(dir, "checkout.yaml")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	set, err := Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 1 {
		t.Errorf("%d contracts", set.Len())
	}
}

func TestLoadMissingFolder(t *testing.T) {
	if _, err := Load(os.DirFS(filepath.Join(t.TempDir(), "none"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestNewSetRefusesWhatParseWould(t *testing.T) {
	good := func() *Contract {
		return &Contract{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: "c"}, Spec: Spec{Workload: Selector{Kind: "Unit", Name: "c"}}}
	}
	if _, err := NewSet(good()); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Contract){
		"the path \"tmp\" is not absolute":      func(c *Contract) { c.Spec.Scratch = []Scratch{{Path: "tmp"}} },
		"metadata is missing":                   func(c *Contract) { c.Metadata.Name = "" },
		"spec.state: \"none\" is not a state":   func(c *Contract) { c.Spec.State = "none" },
		"exclude each other":                    func(c *Contract) { c.Spec.Calls = []Call{{DNS: "a.b", Workload: Ref{Kind: "Unit", Name: "x"}}} },
		"is not in its plain form":              func(c *Contract) { c.Spec.Calls = []Call{{DNS: "A.b"}} },
		"the range 9-3 ends before it begins":   func(c *Contract) { c.Spec.Listens = []Listen{{Port: Ports{9, 3}}} },
		"\"deployment\" is not a kind":          func(c *Contract) { c.Spec.Workload.Kind = "deployment" },
		"spec.volumes[0].class is missing":      func(c *Contract) { c.Spec.Volumes = []Volume{{Path: "/x"}} },
		"spec.scratch has 300 entries, more":    func(c *Contract) { c.Spec.Scratch = make([]Scratch, 300) },
		"spec.workload.name: \"a b\" is not":    func(c *Contract) { c.Spec.Workload.Name = "a b" },
		"spec.scratch[0].maxAge: the duration ": func(c *Contract) { c.Spec.Scratch = []Scratch{{Path: "/x", MaxAge: 5}} },
	} {
		c := good()
		spoil(c)
		if _, err := NewSet(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := NewSet(good(), good()); err == nil || !strings.Contains(err.Error(), "a second contract") {
		t.Errorf("got %v", err)
	}
}

func TestDefaultState(t *testing.T) {
	for kind, want := range map[string]State{
		"Deployment": Stateless, "ReplicaSet": Stateless, "Job": Stateless, "CronJob": Stateless, "StatefulSet": Stateful,
		"DaemonSet": "", "Pod": "", "Unit": "", "Container": "", "Session": "", "Host": "", "Kernel": "", "Rollout": "",
	} {
		if got := DefaultState(kind); got != want {
			t.Errorf("%s is %q, want %q", kind, got, want)
		}
	}
}
