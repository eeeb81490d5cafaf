// SPDX-License-Identifier: Apache-2.0

// Package formats_test reads what spoor writes for other programs with the readers and schemas of others, and has others say what its
// network policies do.
package formats_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"
)

var spoor = flag.String("spoor", "../../bin/spoor", "the program whose output is read")

const contracts = `apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  listens: [{port: 8443}]
  calls: []
---
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: payments, namespace: shop}
spec:
  workload: {kind: Deployment, name: payments}
  calls: []
`

const instance = `"instance":{"id":"i1","workload":{"cluster":"c","namespace":"shop","kind":"Deployment","name":"checkout"}},"process":{"tgid":7,"comm":"app","exe":"/app"}`

// recording has a call, a listener and files that nobody agreed to, with names that mean something in XML, JSON and URLs.
func recording() string {
	var b strings.Builder
	event := func(kind, fact string) {
		fmt.Fprintf(&b, `{"id":"%d","time":"2026-05-01T06:00:00Z","node":"n1","kind":%q,%s,%s}`+"\n", strings.Count(b.String(), "\n")+1, kind, instance, fact)
	}
	event("flow", `"flow":{"transport":"TRANSPORT_TCP","direction":"DIRECTION_OUTBOUND","local":{"address":"10.0.0.1"},"peer":{"address":"203.0.113.7","port":25},"opened":1}`)
	event("listen", `"listen":{"transport":"TRANSPORT_TCP","local":{"address":"0.0.0.0","port":9000}}`)
	for i, name := range []string{`/app/<b>&amp;"x"']]>`, "/app/%41 b?c#d", `/app/\u0001\u001b[31m`, "/app/ä\U0001F9ED"} {
		event("file_write", fmt.Sprintf(`"fileWrite":{"file":{"path":%s,"dev":1,"inode":"%d","generation":1,"fsType":"ext4","storageClass":"STORAGE_CLASS_WRITABLE_LAYER"},"changes":"1","sizeAfter":"9","data":true}`,
			strings.ReplaceAll(quote(name), `\\u`, `\u`), i+1))
	}
	return b.String()
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // not of a string
	}
	return string(text)
}

// judge runs `spoor contract test` on the recording, in a folder whose file of contracts needs to be escaped in a URL.
func judge(t *testing.T, format string) []byte {
	t.Helper()
	program, err := filepath.Abs(*spoor)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"the shop & co.yaml": contracts, "day.jsonl": recording()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "contract", "test", "the shop & co.yaml", "--recording", "day.jsonl", "-o", format)
	cmd.Dir = dir
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Fatalf("%s: %v, and not exit code 1: %s", cmd, err, problem.Bytes())
	}
	return out
}

// known are the elements and attributes of the schema by which Jenkins' xUnit plugin takes or refuses a report (junit-10.xsd), as far
// as they are written; those in front must be there.
var known = map[string]struct{ required, optional []string }{
	"testsuites": {},
	"testsuite":  {required: []string{"name", "tests", "failures", "errors"}, optional: []string{"file"}},
	"testcase":   {required: []string{"name"}, optional: []string{"classname"}},
	"failure":    {optional: []string{"message", "type"}},
}

func TestJUnit(t *testing.T) {
	out := judge(t, "junit")
	suites, err := junit.Ingest(out)
	if err != nil || len(suites) != 1 {
		t.Fatalf("%d suites: %v\n%s", len(suites), err, out)
	}
	s := suites[0]
	if s.Totals.Tests != 2 || s.Totals.Failed != 1 || s.Totals.Passed != 1 || s.Totals.Error != 0 || s.Properties["file"] != "the shop & co.yaml" {
		t.Errorf("%+v %v", s.Totals, s.Properties)
	}
	names := map[string]junit.Status{}
	for _, c := range s.Tests {
		names[c.Name] = c.Status
	}
	if names["shop/checkout"] != junit.StatusFailed || names["shop/payments"] != junit.StatusPassed {
		t.Errorf("%v", names)
	}
	for _, part := range []string{"flow.egress", "flow.listener", "state.local", "203.0.113.7:25/tcp", `/app/<b>&amp;"x"'\]\]>`} {
		if c := s.Tests[slices.IndexFunc(s.Tests, func(c junit.Test) bool { return c.Error != nil })]; !strings.Contains(c.Error.Error(), part) {
			t.Errorf("nothing of %s in %s", part, c.Error)
		}
	}
	for d := xml.NewDecoder(bytes.NewReader(out)); ; {
		next, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		element, ok := next.(xml.StartElement)
		if !ok {
			continue
		}
		k, ok := known[element.Name.Local]
		if !ok {
			t.Errorf("no reader knows <%s>", element.Name.Local)
		}
		var has []string
		for _, a := range element.Attr {
			has = append(has, a.Name.Local)
			if !slices.Contains(slices.Concat(k.required, k.optional), a.Name.Local) {
				t.Errorf("no reader knows %s of <%s>", a.Name.Local, element.Name.Local)
			}
		}
		for _, name := range k.required {
			if !slices.Contains(has, name) {
				t.Errorf("<%s> has no %s", element.Name.Local, name)
			}
		}
	}
}

func TestSARIF(t *testing.T) {
	out := judge(t, "sarif")
	log, err := sarif.FromBytes(out)
	if err != nil {
		t.Fatal(err)
	}
	result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(schema(t)), gojsonschema.NewBytesLoader(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range result.Errors() {
		t.Error(e)
	}
	// What the schema does not know would have been left out by the reader.
	again, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	if missing := lost(t, out, again); len(missing) > 0 {
		t.Errorf("not in the schema: %s", missing)
	}
	if len(log.Runs) != 1 || len(log.Runs[0].Results) < 4 {
		t.Fatalf("%s", out)
	}
	for _, r := range log.Runs[0].Results {
		at := r.Locations[0].PhysicalLocation
		if *at.ArtifactLocation.URI != "the%20shop%20&%20co.yaml" || *at.Region.StartLine != 1 || len(r.Fingerprints["spoor/v1"]) != 64 {
			t.Errorf("%s at %s:%d, %s", *r.RuleID, *at.ArtifactLocation.URI, *at.Region.StartLine, r.Fingerprints)
		}
	}
}

// schema is that of OASIS for SARIF 2.1.0, which the module brings in a constant of its own: with it the text itself is checked, and not
// what the module made of it.
func schema(t *testing.T) string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING && len(literal.Value) > len(text) {
			text = literal.Value
		}
		return true
	})
	if text, err = strconv.Unquote(text); err != nil || !strings.Contains(text, "sarif-schema-2.1.0") {
		t.Fatalf("no schema is there: %v", err)
	}
	return text
}

// lost lists what one JSON text has and another one has not.
func lost(t *testing.T, from, in []byte) (paths []string) {
	t.Helper()
	var a, b any
	for text, into := range map[*[]byte]*any{&from: &a, &in: &b} {
		if err := json.Unmarshal(*text, into); err != nil {
			t.Fatal(err)
		}
	}
	var walk func(path string, a, b any)
	walk = func(path string, a, b any) {
		switch a := a.(type) {
		case map[string]any:
			other, _ := b.(map[string]any)
			for key, value := range a {
				walk(path+"/"+key, value, other[key])
			}
		case []any:
			other, _ := b.([]any)
			for i, value := range a {
				walk(fmt.Sprintf("%s/%d", path, i), value, append(other, make([]any, len(a))...)[i])
			}
		default:
			if a != b {
				paths = append(paths, path)
			}
		}
	}
	walk("", a, b)
	return paths
}
