// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"
)

// contractSchema is that of the definition of contracts, which the API server checks them by.
func contractSchema(t *testing.T) *validate.SchemaValidator {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deploy, "kubernetes", "crd", "contracts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema spec.Schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	if len(crd.Spec.Versions) != 1 {
		t.Fatalf("%d versions", len(crd.Spec.Versions))
	}
	return validate.NewSchemaValidator(&crd.Spec.Versions[0].Schema.OpenAPIV3Schema, nil, "", strfmt.Default)
}

func contractProblems(t *testing.T, schema *validate.SchemaValidator, document []byte) string {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal(document, &object); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, err := range schema.Validate(object).Errors {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

// Every example is an object that the API server takes.
func TestExamplesFitTheDefinition(t *testing.T) {
	schema := contractSchema(t)
	files, err := filepath.Glob(filepath.Join(deploy, "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	documents := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
			documents++
			if problems := contractProblems(t, schema, document); problems != "" {
				t.Errorf("%s: %s", file, problems)
			}
		}
	}
	if documents < len(files) {
		t.Errorf("%d documents in %d files", documents, len(files))
	}
}

// What is no contract is refused.
func TestDefinitionRefuses(t *testing.T) {
	schema := contractSchema(t)
	const head = "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: x}\nspec:\n  workload: {kind: Deployment, name: x}\n"
	if problems := contractProblems(t, schema, []byte(head)); problems != "" {
		t.Fatalf("a contract is refused: %s", problems)
	}
	for _, part := range []string{
		"  state: sometimes", "  listens: [{transport: tcp}]", "  listens: [{port: http}]", "  volumes: [{path: relative, class: cache}]",
		"  calls: [{port: 1}]", "  calls: [{dns: a.example, cidr: 10.0.0.0/8}]", "  scratch: [{path: /tmp, maxAge: soon}]", "  shares: [{}]",
	} {
		if contractProblems(t, schema, []byte(head+part+"\n")) == "" {
			t.Errorf("%s is taken", strings.TrimSpace(part))
		}
	}
}
