// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

const crdFile = "../deploy/kubernetes/crd/contracts.yaml"

// structural makes of a JSON schema what the API server takes (a structural schema): unknown fields are its own business, constants are
// enumerations, and what is a number or a text has a mark of its own.
func structural(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for _, m := range v {
			switch m.name {
			case "additionalProperties":
				if m.value == false {
					continue
				}
			case "const":
				m = member{"enum", []any{m.value}}
			case "anyOf": // an integer, or a text of a form; or what must be written
				if slices.Contains(v, member{"type", "object"}) {
					break
				}
				pattern := any("")
				for _, each := range m.value.([]object) {
					for _, p := range each {
						if p.name == "pattern" {
							pattern = p.value
						}
					}
				}
				out = append(out, member{"x-kubernetes-int-or-string", true},
					member{"anyOf", []object{{{"type", "integer"}}, {{"type", "string"}}}}, member{"pattern", pattern})
				continue
			}
			out = append(out, member{m.name, structural(m.value)})
		}
		return out
	case []object:
		out := make([]any, len(v))
		for i := range v {
			out[i] = structural(v[i])
		}
		return out
	default:
		return v
	}
}

// definition is the definition of contracts as Kubernetes objects, from the same types as the format of files.
func definition(t *testing.T) []byte {
	t.Helper()
	comments := fieldComments(t)
	schema := object{
		{"type", "object"},
		{"required", []string{"spec"}},
		{"properties", object{
			{"apiVersion", object{{"type", "string"}}},
			{"kind", object{{"type", "string"}}},
			{"metadata", object{{"type", "object"}}},
			{"spec", append(object{{"description", comments["Contract.Spec"]}}, structural(schemaOf(t, reflect.TypeFor[Spec](), comments)).(object)...)},
		}},
	}
	column := func(name, path string) object { return object{{"name", name}, {"type", "string"}, {"jsonPath", path}} }
	crd := object{
		{"apiVersion", "apiextensions.k8s.io/v1"},
		{"kind", "CustomResourceDefinition"},
		{"metadata", object{{"name", "contracts.spoor.dev"}}},
		{"spec", object{
			{"group", "spoor.dev"},
			{"scope", "Namespaced"},
			{"names", object{{"kind", Kind}, {"plural", "contracts"}, {"singular", "contract"}}},
			{"versions", []object{{
				{"name", "v1"},
				{"served", true},
				{"storage", true},
				{"additionalPrinterColumns", []object{
					column("Workload", ".spec.workload.name"), column("State", ".spec.state"), column("Team", ".spec.owner.team"),
				}},
				{"schema", object{{"openAPIV3Schema", schema}}},
			}}},
		}},
	}
	compact, err := json.Marshal(crd)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.JSONToYAML(compact)
	if err != nil {
		t.Fatal(err)
	}
	const head = "# Contracts as objects of Kubernetes: made from the types of package contract by `go generate ./contract`.\n"
	return append([]byte(head), text...)
}

func TestDefinitionIsCurrent(t *testing.T) {
	want := definition(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(crdFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(crdFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say; run: go generate ./contract", crdFile)
	}
}
