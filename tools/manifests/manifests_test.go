// SPDX-License-Identifier: Apache-2.0

// Package manifests checks deploy/: that the API server would understand every manifest, and that their parts fit
// each other and the programs that they start.
//
// It decodes strictly into the types of k8s.io/api: an unknown or misspelt field is an error, as it is for
// `kubectl apply`. It is a module of its own, so that nobody who builds Spoor needs those types.
package manifests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const deploy = "../../deploy"

// kinds makes the type that a manifest must fit.
var kinds = map[string]func() metav1.Object{
	"v1/Namespace":                       func() metav1.Object { return &corev1.Namespace{} },
	"v1/ServiceAccount":                  func() metav1.Object { return &corev1.ServiceAccount{} },
	"v1/Service":                         func() metav1.Object { return &corev1.Service{} },
	"v1/ConfigMap":                       func() metav1.Object { return &corev1.ConfigMap{} },
	"v1/PersistentVolumeClaim":           func() metav1.Object { return &corev1.PersistentVolumeClaim{} },
	"apps/v1/DaemonSet":                  func() metav1.Object { return &appsv1.DaemonSet{} },
	"apps/v1/Deployment":                 func() metav1.Object { return &appsv1.Deployment{} },
	"networking.k8s.io/v1/NetworkPolicy": func() metav1.Object { return &networkingv1.NetworkPolicy{} },
	"scheduling.k8s.io/v1/PriorityClass": func() metav1.Object { return &schedulingv1.PriorityClass{} },

	"rbac.authorization.k8s.io/v1/ClusterRole":        func() metav1.Object { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1/ClusterRoleBinding": func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
}

func decode(document []byte) (metav1.Object, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return nil, err
	}
	kind := meta.APIVersion + "/" + meta.Kind
	if kinds[kind] == nil {
		return nil, fmt.Errorf("there is no type for %q here", kind)
	}
	object := kinds[kind]()
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return object, nil
}

func documents(t *testing.T, data []byte) []metav1.Object {
	t.Helper()
	var objects []metav1.Object
	for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
		object, err := decode(document)
		if err != nil {
			t.Errorf("%v\nin\n%s", err, document)
			continue
		}
		objects = append(objects, object)
	}
	return objects
}

// built is what `kubectl apply -k` would send.
func built(t *testing.T) []metav1.Object {
	t.Helper()
	return buildFolder(t, filepath.Join(deploy, "kubernetes"))
}

func buildFolder(t *testing.T, dir string) []metav1.Object {
	t.Helper()
	k := krusty.MakeKustomizer(krusty.MakeDefaultOptions())
	all, err := k.Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := all.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return documents(t, data)
}

// pod is a pod that a controller makes.
type pod struct {
	controller string
	selector   *metav1.LabelSelector
	template   corev1.PodTemplateSpec
}

func pods(objects []metav1.Object) []pod {
	var all []pod
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.DaemonSet:
			all = append(all, pod{o.Name, o.Spec.Selector, o.Spec.Template})
		case *appsv1.Deployment:
			all = append(all, pod{o.Name, o.Spec.Selector, o.Spec.Template})
		}
	}
	return all
}

// named returns the names of the objects of a type.
func named[T metav1.Object](objects []metav1.Object) []string {
	var names []string
	for _, object := range objects {
		if o, ok := object.(T); ok {
			names = append(names, o.GetName())
		}
	}
	return names
}

func TestFilesDecodeByThemselves(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(deploy, "kubernetes", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue // TestPartsFit builds it
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents(t, data)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	for problem, document := range map[string]string{
		"unknown field":   "apiVersion: v1\nkind: Service\nspec: {prots: []}",
		"wrong type":      "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: one}",
		"given twice":     "apiVersion: v1\nkind: Service\nspec: {type: ClusterIP, type: NodePort}",
		"unknown kind":    "apiVersion: apps/v1\nkind: Deploymnet",
		"unknown version": "apiVersion: apps/v2\nkind: Deployment",
	} {
		if _, err := decode([]byte(document)); err == nil {
			t.Errorf("%s: taken without an error", problem)
		}
	}
}

func TestPartsFit(t *testing.T) {
	objects := built(t)
	accounts, claims, configs := named[*corev1.ServiceAccount](objects), named[*corev1.PersistentVolumeClaim](objects), named[*corev1.ConfigMap](objects)
	priorities := named[*schedulingv1.PriorityClass](objects)
	all := pods(objects)
	if len(all) != 2 {
		t.Fatalf("%d controllers, want the agent's and the collector's", len(all))
	}
	has := func(p pod, what, name string, among []string) {
		if name != "" && !slices.Contains(among, name) {
			t.Errorf("%s: %s %q is not among %q", p.controller, what, name, among)
		}
	}
	for _, p := range all {
		if !selects(t, p.selector, p) {
			t.Errorf("%s does not select its own pods", p.controller)
		}
		has(p, "service account", p.template.Spec.ServiceAccountName, accounts)
		has(p, "priority class", p.template.Spec.PriorityClassName, priorities)
		var volumes []string
		for _, v := range p.template.Spec.Volumes {
			volumes = append(volumes, v.Name)
			if v.PersistentVolumeClaim != nil {
				has(p, "claim", v.PersistentVolumeClaim.ClaimName, claims)
			}
			if v.ConfigMap != nil {
				has(p, "config map", v.ConfigMap.Name, configs)
			}
		}
		for _, c := range p.template.Spec.Containers {
			for _, m := range c.VolumeMounts {
				has(p, "volume", m.Name, volumes)
			}
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if probe != nil {
					has(p, "port", probe.HTTPGet.Port.String(), ports(p))
				}
			}
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
					has(p, "config map", e.ValueFrom.ConfigMapKeyRef.Name, configs)
				}
			}
		}
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.Service:
			selector := &metav1.LabelSelector{MatchLabels: o.Spec.Selector}
			for _, port := range o.Spec.Ports {
				reaches(t, o.Name, selector, port.TargetPort, all)
			}
		case *networkingv1.NetworkPolicy:
			for _, rule := range o.Spec.Ingress {
				for _, port := range rule.Ports {
					reaches(t, o.Name, &o.Spec.PodSelector, *port.Port, all)
				}
			}
			for _, rule := range o.Spec.Egress {
				for _, port := range rule.Ports {
					for _, peer := range rule.To {
						reaches(t, o.Name, peer.PodSelector, *port.Port, all)
					}
				}
			}
		}
	}
}

func selects(t *testing.T, selector *metav1.LabelSelector, p pod) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(p.template.Labels))
}

func ports(p pod) []string {
	var names []string
	for _, c := range p.template.Spec.Containers {
		for _, port := range c.Ports {
			names = append(names, port.Name)
		}
	}
	return names
}

// reaches checks that exactly one kind of pod is selected and that it has the port.
func reaches(t *testing.T, who string, selector *metav1.LabelSelector, port intstr.IntOrString, all []pod) {
	t.Helper()
	matching := slices.DeleteFunc(slices.Clone(all), func(p pod) bool { return !selects(t, selector, p) })
	if len(matching) != 1 {
		t.Errorf("%s selects %d kinds of pods, want one", who, len(matching))
		return
	}
	if !slices.Contains(ports(matching[0]), port.String()) {
		t.Errorf("%s: %s has no port %q", who, matching[0].controller, port.String())
	}
}

func TestLeastPrivilege(t *testing.T) {
	allowed := map[string][]corev1.Capability{
		"spoor-agent":     {"BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"},
		"spoor-collector": nil,
	}
	for _, p := range pods(built(t)) {
		want, ok := allowed[p.controller]
		if !ok {
			t.Errorf("%s: state here which capabilities it may have", p.controller)
		}
		if token := p.template.Spec.AutomountServiceAccountToken; token == nil || *token {
			t.Errorf("%s gets a token for the API server, which it never asks", p.controller)
		}
		for _, c := range p.template.Spec.Containers {
			s := c.SecurityContext
			switch {
			case s == nil || s.Capabilities == nil || s.ReadOnlyRootFilesystem == nil || s.AllowPrivilegeEscalation == nil:
				t.Errorf("%s: its security context leaves something open", p.controller)
				continue
			case s.Privileged != nil && *s.Privileged, !*s.ReadOnlyRootFilesystem, *s.AllowPrivilegeEscalation:
				t.Errorf("%s: its security context allows too much", p.controller)
			}
			if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, want) {
				t.Errorf("%s: capabilities %v without %v, want %v without ALL", p.controller, s.Capabilities.Add, s.Capabilities.Drop, want)
			}
			if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() {
				t.Errorf("%s: its memory has no bound", p.controller)
			}
		}
		for _, v := range p.template.Spec.Volumes {
			if v.HostPath == nil {
				continue
			}
			for _, c := range p.template.Spec.Containers {
				for _, m := range c.VolumeMounts {
					// Where programs and events outlive the agent.
					own := v.HostPath.Path == "/sys/fs/bpf" || v.HostPath.Path == "/var/lib/spoor-agent"
					if m.Name == v.Name && !m.ReadOnly && !own {
						t.Errorf("%s may write %s of the node", p.controller, v.HostPath.Path)
					}
				}
			}
		}
	}
}

// With the component `claims` agents have a token, with which they may ask for pods and nothing else.
func TestClaims(t *testing.T) {
	overlay := t.TempDir()
	here, err := filepath.Abs(filepath.Join(deploy, "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(overlay, here)
	if err != nil {
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf("resources: [%s]\ncomponents: [%s/claims]\n", base, base)
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := buildFolder(t, overlay)
	for _, p := range pods(objects) {
		token := p.template.Spec.AutomountServiceAccountToken
		if has := token != nil && *token; has != (p.controller == "spoor-agent") {
			t.Errorf("%s has a token: %t", p.controller, has)
		}
	}
	var rules []rbacv1.PolicyRule
	bound := false
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			rules = append(rules, o.Rules...)
		case *rbacv1.ClusterRoleBinding:
			bound = o.RoleRef.Name == "spoor-agent" && len(o.Subjects) == 1 && o.Subjects[0].Name == "spoor-agent" && o.Subjects[0].Namespace == "spoor"
		}
	}
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}}}
	if !bound || !reflect.DeepEqual(rules, want) {
		t.Errorf("agents may do %v, want %v; bound to them: %t", rules, want, bound)
	}
}

var (
	variable = regexp.MustCompile(`\bSPOOR_[A-Z_]+`)
	option   = regexp.MustCompile(`\s(--[a-z-]+)`)
)

// help is what a program says about its flags and environment variables.
func help(t *testing.T, command ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../bin", command[0]))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, append(command[1:], "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v --help: %v\n%s(`make build` makes it)", command, err, out)
	}
	return string(out)
}

// A variable or flag that a program does not know would be ignored, or keep it from starting.
func TestProgramsKnowWhatTheyAreGiven(t *testing.T) {
	known := map[string]string{
		"kubernetes/agent.yaml":       help(t, "spoor-agent"),
		"kubernetes/collector.yaml":   help(t, "spoor", "collector"),
		"systemd/spoor-agent.service": help(t, "spoor-agent"),
		"systemd/spoor.service":       help(t, "spoor", "up"),
	}
	for file, help := range known {
		data, err := os.ReadFile(filepath.Join(deploy, file))
		if err != nil {
			t.Fatal(err)
		}
		given := variable.FindAllString(string(data), -1)
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(line, "ExecStart=") {
				for _, match := range option.FindAllStringSubmatch(line, -1) {
					given = append(given, match[1])
				}
			}
		}
		if len(given) == 0 {
			t.Errorf("%s gives no variable: is it read right?", file)
		}
		for _, name := range given {
			if !regexp.MustCompile(regexp.QuoteMeta(name) + `\b`).MatchString(help) {
				t.Errorf("%s gives %s, which the program does not know", file, name)
			}
		}
	}
}
