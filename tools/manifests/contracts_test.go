// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

// With the component the collector may read contracts, and nothing else, and is told of which cluster they are.
func TestContractsComponent(t *testing.T) {
	// Names below a folder that kustomize is told of are relative.
	dir := t.TempDir()
	base, err := filepath.Abs(filepath.Join(deploy, "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + base + "]\ncomponents: [" + filepath.Join(base, "contracts") + "]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := buildFolder(t, dir)
	maps := named[*corev1.ConfigMap](objects)
	told, bound := false, false
	for _, object := range objects {
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			if len(o.Rules) != 1 || strings.Join(o.Rules[0].Verbs, " ") != "list watch" || strings.Join(o.Rules[0].Resources, " ") != "contracts" {
				t.Errorf("it may %v", o.Rules)
			}
		case *rbacv1.ClusterRoleBinding:
			bound = o.Subjects[0].Name == "spoor-collector" && o.Subjects[0].Namespace == "spoor" && o.RoleRef.Name == "spoor-collector-contracts"
		case *appsv1.Deployment:
			for _, e := range o.Spec.Template.Spec.Containers[0].Env {
				told = told || e.Name == "SPOOR_CONTRACTS_FROM_CLUSTER" && slices.Contains(maps, e.ValueFrom.ConfigMapKeyRef.Name) && *o.Spec.Template.Spec.AutomountServiceAccountToken
			}
		}
	}
	if !told || !bound {
		t.Errorf("told of its cluster: %v, may read: %v", told, bound)
	}
}
