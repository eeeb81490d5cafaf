// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sameContract compares contracts by what they say, not by where they stand.
var sameContract = cmp.Options{cmpopts.IgnoreUnexported(Contract{}), cmpopts.EquateComparable(netip.Prefix{})}

func TestParseExample(t *testing.T) {
	data, err := os.ReadFile("testdata/good/checkout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("checkout.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	want := []*Contract{{
		APIVersion: "spoor.dev/v1",
		Kind:       "Contract",
		Metadata:   Metadata{Name: "checkout", Namespace: "shop"},
		Spec: Spec{
			Workload: Selector{Kind: "Deployment", Name: "checkout"},
			Owner:    Owner{Team: "payments", Oncall: "payments-primary"},
			State:    Stateless,
			Scratch:  []Scratch{{Path: "/tmp/**", MaxAge: Duration(10 * time.Minute), MaxBytes: 64 << 20}},
			Volumes:  []Volume{{Path: "/var/cache/tpl", Class: ClassCache}},
			Listens:  []Listen{{Port: Port(8443), Transport: TCP}},
			Callers:  []Caller{{Workload: Ref{Namespace: "shop", Kind: "Deployment", Name: "frontend"}}},
			Calls: []Call{
				{Workload: Ref{Namespace: "shop", Kind: "Deployment", Name: "payments"}, Port: Port(8443)},
				{DNS: "*.stripe.com", Port: Port(443)},
				{CIDR: CIDR{netip.MustParsePrefix("10.20.0.0/16")}, Port: Port(5432), Purpose: BackingService},
			},
		},
	}}
	if diff := cmp.Diff(want, got, sameContract); diff != "" {
		t.Error(diff)
	}
	if file, line := got[0].Position(); file != "checkout.yaml" || line != 1 {
		t.Errorf("the contract stands at %s:%d", file, line)
	}
}

// TestParseErrors compares every message with the golden file beside the input: they are what authors see.
func TestParseErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no input: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			contracts, err := Parse(filepath.Base(file), data)
			if err == nil {
				t.Fatal("no error")
			}
			if contracts != nil {
				t.Error("contracts beside an error")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".errors", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s (write it anew with -update):\n%s", file, diff)
	}
}

func TestParseErrorHasItsParts(t *testing.T) {
	_, err := Parse("dir/c.yaml", []byte("apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec:\n  workload: {kind: Unit, name: c}\n  scrach: []\n"))
	var parse *ParseError
	if !errors.As(err, &parse) {
		t.Fatalf("%v is no *ParseError", err)
	}
	want := ParseError{File: "dir/c.yaml", Line: 6, Column: 3, Problem: `unknown field "scrach" in spec`, Fix: "write scratch"}
	if *parse != want {
		t.Errorf("got %+v, want %+v", *parse, want)
	}
}

const minimal = "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec: {workload: {kind: Unit, name: c}}\n"

func TestParseDocuments(t *testing.T) {
	second := strings.ReplaceAll(minimal, "name: c", "name: d")
	for _, tc := range []struct {
		name, text string
		want       []int // lines where the contracts begin
	}{
		{"nothing", "", nil},
		{"a comment", "# nothing\n", nil},
		{"one", minimal, []int{1}},
		{"byte order mark", "\ufeff" + minimal, []int{1}},
		{"carriage returns", strings.ReplaceAll(minimal, "\n", "\r\n"), []int{1}},
		{"two", minimal + "---\n" + second, []int{1, 6}},
		{"a document of comments before", "---\n# only a comment\n---\n" + minimal, []int{4}},
		{"empty documents", "---\n---\n" + minimal + "---\n...\n---\n", []int{3}},
		{"comments around", "# a\n" + minimal + "# b\n---\n# c\n" + second + "# d\n", []int{2, 9}},
		{"JSON", `{"apiVersion": "spoor.dev/v1", "kind": "Contract", "metadata": {"name": "c"}, "spec": {"workload": {"kind": "Unit", "name": "c"}}}`, []int{1}},
		{"content beside the marker", "--- {apiVersion: spoor.dev/v1, kind: Contract, metadata: {name: c}, spec: {workload: {kind: Unit, name: c}}}", []int{1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			contracts, err := Parse("f.yaml", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, c := range contracts {
				got = append(got, c.line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesBytesThatAreNotText(t *testing.T) {
	for _, text := range []string{"a: \xff\n", "ü: 1\nb: \x00", "b: \x1b[31m"} {
		_, err := Parse("f.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := Parse("f.yaml", []byte("ü: 1\nbé: \x00"))
	if want := "f.yaml:2:5: the file is not text in UTF-8; save the file as UTF-8"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if _, err := Parse("f.yaml", make([]byte, maxFile+1)); err == nil {
		t.Error("a file of any size is read")
	}
}

// An absent list is not an empty one: the first is not judged, the second allows nothing.
func TestParseKeepsEmptyListsApart(t *testing.T) {
	contracts, err := Parse("f.yaml", []byte("apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec:\n  workload: {kind: Unit, name: c}\n  calls: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := contracts[0]
	if c.Spec.Calls == nil || c.Spec.Callers != nil {
		t.Errorf("calls %#v, callers %#v", c.Spec.Calls, c.Spec.Callers)
	}
	if diff := cmp.Diff([]string{"listens", "callers"}, c.NotJudged()); diff != "" {
		t.Error(diff)
	}
}

func TestManyProblemsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(minimal)
	for range 1000 {
		b.WriteString("---\nx: 1\n")
	}
	_, err := Parse("f.yaml", []byte(b.String()))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxProblems+1 || !strings.Contains(lines[maxProblems], "more problems") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestHostileNesting(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("[", 1<<19), strings.Repeat("{a: ", 1<<17), strings.Repeat("- ", 1<<18), strings.Repeat("? ", 1<<18),
		strings.Repeat("&a ", 1<<18), strings.Repeat("!!x ", 1<<18), strings.Repeat("a:\n", 1<<18), strings.Repeat("---\n", 1<<18),
	} {
		start := worked(t)
		if _, err := Parse("f.yaml", []byte(text)); err == nil && !strings.HasPrefix(text, "---") {
			t.Errorf("%.10q... is taken for a contract", text)
		}
		if spent := worked(t) - start; spent > 20*time.Second {
			t.Errorf("%.10q... took %v", text, spent)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			for doc := range strings.SplitSeq(string(data), "---\n") {
				f.Add([]byte(doc))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		contracts, err := Parse("f.yaml", data)
		if err != nil {
			if contracts != nil {
				t.Fatal("contracts beside an error")
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f.yaml:") {
					t.Fatalf("an error without a place: %q", line)
				}
			}
			return
		}
		// What was read can be written and read again.
		text, err := Marshal(contracts...)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("g.yaml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(contracts, again, sameContract, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
		if _, err := NewSet(contracts...); err != nil {
			t.Fatal(err)
		}
	})
}
