// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kubeconform checks objects as people do in CI, by JSON schemas, and returns how many it says are valid and how many are not. The schemas
// are made of what the server itself publishes.
func (a *apiServer) kubeconform(objects ...*unstructured.Unstructured) (valid, invalid int) {
	a.Helper()
	dir := a.TempDir()
	var all bytes.Buffer
	for _, o := range objects {
		schema := filepath.Join(dir, strings.ToLower(o.GetKind())+".json")
		if _, err := os.Stat(schema); err != nil {
			if err := os.WriteFile(schema, a.schema(o), 0o600); err != nil {
				a.Fatal(err)
			}
		}
		fmt.Fprintf(&all, "---\n%s\n", a.json(o))
	}
	file := filepath.Join(dir, "objects.yaml")
	if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
		a.Fatal(err)
	}
	cmd := exec.CommandContext(a.Context(), "go", "-C", "../formats", "tool", "kubeconform", "-strict", "-summary", "-output", "json",
		"-schema-location", filepath.Join(dir, "{{ .ResourceKind }}.json"), file)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output() // its exit code says no more than what it writes
	var said struct {
		Summary struct{ Valid, Invalid, Errors, Skipped int }
	}
	if json.Unmarshal(out, &said) != nil || said.Summary.Errors+said.Summary.Skipped > 0 || said.Summary.Valid+said.Summary.Invalid != len(objects) {
		a.Fatalf("kubeconform: %v: %s%s", err, out, problem.Bytes())
	}
	return said.Summary.Valid, said.Summary.Invalid
}

// schema is the one of an object's kind, in which no field may be that is not named.
func (a *apiServer) schema(o *unstructured.Unstructured) []byte {
	a.Helper()
	status, text, _ := a.send(http.MethodGet, "/openapi/v3/apis/"+o.GetAPIVersion(), "application/json", false, nil)
	var published struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &published); status != http.StatusOK || err != nil {
		a.Fatalf("%d %v", status, err)
	}
	root := ""
	for name, schema := range published.Components.Schemas {
		strict(schema)
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) == 1 && kinds[0].(map[string]any)["kind"] == o.GetKind() {
			root = name
		}
	}
	made, err := json.Marshal(map[string]any{
		"$schema": "http://json-schema.org/draft-04/schema#", "$ref": "#/components/schemas/" + root, "components": published.Components,
	})
	if err != nil || root == "" {
		a.Fatalf("no schema for %s: %v", o.GetKind(), err)
	}
	return made
}

// strict closes every object that names its fields.
func strict(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		_, named := s["properties"].(map[string]any)
		_, others := s["additionalProperties"]
		if named && !others && s["x-kubernetes-preserve-unknown-fields"] == nil && s["type"] == "object" {
			s["additionalProperties"] = false
		}
		for _, part := range s {
			strict(part)
		}
	case []any:
		for _, part := range s {
			strict(part)
		}
	}
}
