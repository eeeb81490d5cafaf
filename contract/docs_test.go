// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The example of docs/contracts.md is the one that is tested.
func TestDocumentedExample(t *testing.T) {
	_, rest, _ := strings.Cut(readDoc(t, "contracts.md"), "    apiVersion")
	example, _, _ := strings.Cut("apiVersion"+rest, "\n\n")
	got, err := Parse("contracts.md", []byte(strings.ReplaceAll(example, "\n    ", "\n")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/good/checkout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("checkout.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameContract); diff != "" {
		t.Error(diff)
	}
}

// The table of precedence in docs/contracts.md is in order.
func TestDocumentedPrecedence(t *testing.T) {
	_, table, ok := strings.Cut(readDoc(t, "contracts.md"), "| contract selects |")
	if !ok {
		t.Fatal("no table of precedence")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var docs []string
	for line := range strings.SplitSeq(table, "\n") {
		if _, selector, ok := strings.Cut(line, "| `{"); ok {
			selector, _, _ = strings.Cut(selector, "}`")
			// The last in the alphabet first, so that names decide nothing.
			docs = append(docs, doc(string(rune('z'-len(docs))), "{"+selector+"}"))
		}
	}
	if len(docs) < 5 {
		t.Fatalf("%d rows", len(docs))
	}
	w := &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: "checkout"}
	labels := LabelsOf(&spoorv1.Instance{Labels: map[string]string{"app": "checkout", "tier": "front"}, LabelsKnown: true})
	for i := range docs {
		c, sure := mustSet(t, docs[i:]...).For(w, labels)
		if c == nil || !sure {
			t.Fatalf("none of the rows from %d on applies", i)
		}
		if got, want := c.FullName(), string(rune('z'-i)); got != want {
			t.Errorf("of the rows from %d on, %s applies, not %s", i, got, want)
		}
	}
}

// Every rule has its section in docs/rules.md, and every field of spec its row in docs/contracts.md.
func TestEverythingIsDocumented(t *testing.T) {
	rules := readDoc(t, "rules.md")
	for _, rule := range Rules() {
		if !strings.Contains(rules, "\n## "+rule+"\n") {
			t.Errorf("docs/rules.md says nothing of %s", rule)
		}
	}
	contracts := readDoc(t, "contracts.md")
	for _, class := range classes {
		if !strings.Contains(contracts, class) {
			t.Errorf("docs/contracts.md says nothing of class %s", class)
		}
	}
	for _, f := range []string{"workload", "owner", "state", "scratch", "volumes", "listens", "callers", "calls"} {
		if !strings.Contains(contracts, "`spec."+f+"`") {
			t.Errorf("docs/contracts.md says nothing of spec.%s", f)
		}
	}
}
