// SPDX-License-Identifier: Apache-2.0

// Package export turns contracts into what enforces them: a Kubernetes NetworkPolicy, a CiliumNetworkPolicy, and the
// patch that makes a read-only root file system possible.
//
// What a target cannot express is not left out in silence: each [Limit] names the line of the contract and says whether
// the exported object allows more or less than it. The package knows no cluster: whoever calls it says by which labels
// the pods of a workload are found.
package export

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// ErrNoLabels means that Options.Selector does not know the workload of a contract.
var ErrNoLabels = errors.New("nobody said the labels")

// Options say what a contract does not.
type Options struct {
	// Selector is how the pods of a workload are told from others of its namespace. False when that is not known.
	Selector func(namespace, kind, name string) (LabelSelector, bool)
	// TemplateLabels returns all labels that the pods of a workload carry, for services to select them by; nil when they are not known.
	TemplateLabels func(namespace, kind, name string) map[string]string
	// Services are those of the cluster; without them ports that are called are taken as ports of pods.
	Services []Service
	// Resolver is where pods resolve names, by their labels. Zero means the usual one, labels k8s-app=kube-dns in kube-system.
	Resolver Pods
	// NodeResolvers are addresses at which a resolver of each node answers the pods there, beside the usual one.
	NodeResolvers []string
}

// Pods are pods of one namespace.
type Pods struct {
	Namespace string
	By        LabelSelector
}

func (o Options) resolver() Pods {
	if o.Resolver.Namespace == "" {
		return Pods{"kube-system", LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}}}
	}
	return o.Resolver
}

// Limit is where an exported object differs from the contract.
type Limit struct {
	// The line of the contract, or the field.
	Line string `json:"line"`
	// Wider when the object allows more than the line, Narrower when it allows less, Other when it is about others.
	Effect contract.Effect `json:"effect"`
	Why    string          `json:"why"`
}

// YAML writes an exported object, with its limits as remarks above it.
func YAML(object any, limits []Limit) ([]byte, error) {
	body, err := yaml.MarshalWithOptions(object, yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write %T: %w", object, err)
	}
	var b strings.Builder
	for _, l := range limits {
		fmt.Fprintf(&b, "# %s than the contract: %s\n#   %s\n", l.Effect, l.Line, l.Why)
	}
	return append([]byte(b.String()), body...), nil
}

// Meta is the metadata of an exported object.
type Meta struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace,omitempty"`
}

// LabelSelector selects by labels; an empty one selects everything.
type LabelSelector struct {
	MatchLabels      map[string]string `yaml:"matchLabels,omitempty"`
	MatchExpressions []Expression      `yaml:"matchExpressions,omitempty"`
}

// Expression is something that is true of one label.
type Expression struct {
	Key      string   `yaml:"key"`
	Operator string   `yaml:"operator"`
	Values   []string `yaml:"values,omitempty"`
}

// and selects what both select.
func (s LabelSelector) and(w contract.Selector) LabelSelector {
	both := LabelSelector{maps.Clone(s.MatchLabels), slices.Clone(s.MatchExpressions)}
	for _, key := range slices.Sorted(maps.Keys(w.MatchLabels)) {
		switch value, taken := s.MatchLabels[key]; {
		case !taken && both.MatchLabels == nil:
			both.MatchLabels = map[string]string{key: w.MatchLabels[key]}
		case !taken:
			both.MatchLabels[key] = w.MatchLabels[key]
		case value != w.MatchLabels[key]: // nothing has both values
			both.MatchExpressions = append(both.MatchExpressions, Expression{key, string(contract.In), []string{w.MatchLabels[key]}})
		}
	}
	for _, e := range w.MatchExpressions {
		both.MatchExpressions = append(both.MatchExpressions, Expression{e.Key, string(e.Operator), slices.Clone(e.Values)})
	}
	return both
}

// prefixed is the selector with something before each key.
func (s LabelSelector) prefixed(prefix string) LabelSelector {
	out := LabelSelector{MatchLabels: map[string]string{}}
	for key, value := range s.MatchLabels {
		out.MatchLabels[prefix+key] = value
	}
	for _, e := range s.MatchExpressions {
		e.Key = prefix + e.Key
		out.MatchExpressions = append(out.MatchExpressions, e)
	}
	return out
}

// selected finds the pods that the exporter's contract is about: those of one workload, or those with its labels.
func (e *exporter) selected() (Pods, error) {
	c, o := e.contract, e.options
	w := c.Spec.Workload
	namespace := string(w.Namespace)
	if namespace == "" {
		namespace = c.Metadata.Namespace
	}
	parts := []struct{ field, value string }{{"namespace", namespace}, {"kind", string(w.Kind)}, {"name", string(w.Name)}}
	byLabels := w.ByLabels() && !isOne(string(w.Name))
	if byLabels {
		parts = parts[:1]
	}
	for _, part := range parts {
		if !isOne(part.value) {
			return Pods{}, fmt.Errorf("export %s: spec.workload.%s is %q; only a contract for one workload, or for labels in one namespace, can be exported", c.FullName(), part.field, part.value)
		}
	}
	if spoorv1.IsNodeKind(string(w.Kind)) {
		return Pods{}, fmt.Errorf("export %s: a %s is no pod, and a network policy is about pods", c.FullName(), w.Kind)
	}
	if byLabels {
		e.limit("spec.workload", contract.Other, "a policy is about every pod of the namespace with these labels, also when another contract names its workload, or it is of another kind or name")
		return Pods{namespace, LabelSelector{}.and(w)}, nil
	}
	by, ok := o.selector(namespace, string(w.Kind), string(w.Name))
	if !ok {
		return Pods{}, fmt.Errorf("export %s: %w of the pods of %s %s/%s", c.FullName(), ErrNoLabels, w.Kind, namespace, w.Name)
	}
	return Pods{namespace, by.and(w)}, nil
}

// isOne says whether a part of a selector is written out.
func isOne(part string) bool { return part != "" && !strings.Contains(part, "*") }

func (o Options) selector(namespace, kind, name string) (LabelSelector, bool) {
	if o.Selector == nil {
		return LabelSelector{}, false
	}
	by, ok := o.Selector(namespace, kind, name)
	return by, ok && (len(by.MatchLabels) > 0 || len(by.MatchExpressions) > 0)
}

// peers is which pods a reference means. An empty namespace means all, an empty selector all of the namespace.
type peers struct {
	Pods
	// All that they carry, where their owner is known.
	labels map[string]string
}

// find says which pods a reference means, and why not when that cannot be said.
func (o Options) find(ref contract.Ref, own string) (peers, string) {
	namespace, kind, name := string(ref.Namespace), string(ref.Kind), string(ref.Name)
	if namespace == "" {
		namespace = own
	}
	switch {
	case ref.Cluster != "" && ref.Cluster != "*":
		return peers{}, "pods of another cluster cannot be selected"
	case spoorv1.IsNodeKind(kind):
		return peers{}, "a " + kind + " runs on a node and is no pod; allow its node's addresses"
	case namespace != "*" && strings.Contains(namespace, "*"):
		return peers{}, "namespaces cannot be selected by a part of their name"
	}
	if namespace == "*" {
		namespace = ""
	}
	if kind == "*" && name == "*" {
		return peers{Pods: Pods{Namespace: namespace}}, ""
	}
	switch {
	case strings.Contains(kind+name, "*"):
		return peers{}, "pods cannot be selected by a part of their owner's name"
	case namespace == "":
		return peers{}, "the labels of its pods may differ from namespace to namespace"
	}
	by, ok := o.selector(namespace, kind, name)
	if !ok {
		return peers{}, "the labels of its pods are not known"
	}
	who := peers{Pods: Pods{namespace, by}, labels: map[string]string{}}
	maps.Copy(who.labels, by.MatchLabels)
	if o.TemplateLabels != nil {
		maps.Copy(who.labels, o.TemplateLabels(namespace, kind, name))
	}
	return who, ""
}

// transport is what is meant, also when nothing is written.
func transport(t contract.Transport) contract.Transport {
	if t == "" {
		return contract.TCP
	}
	return t
}

// noteResolvers lists where a workload may resolve names that no pods stand behind.
func (e *exporter) noteResolvers() {
	if at := e.options.NodeResolvers; len(at) > 0 && needsNames(e.contract) {
		e.limit("spec.calls", contract.Narrower, "each node has a resolver of its own, at "+strings.Join(at, " and ")+", which is no pod that a policy can select: allow its address if pods ask it")
	}
}

// needsNames says whether the workload must resolve names to make its calls.
func needsNames(c *contract.Contract) bool {
	return slices.ContainsFunc(c.Spec.Calls, func(call contract.Call) bool { return call.CIDR.IsZero() })
}

// callerPorts are the ports on which a caller may call: its own, as far as the contract lets the workload listen there.
func callerPorts(spec *contract.Spec, c contract.Caller) []contract.Listen {
	want := contract.Listen{Port: c.Port, Transport: transport(c.Transport)}
	if spec.Listens == nil {
		return []contract.Listen{want}
	}
	var ports []contract.Listen
	for _, l := range spec.Listens {
		if transport(l.Transport) != want.Transport {
			continue
		}
		if p, ok := intersect(l.Port, want.Port); ok {
			ports = append(ports, contract.Listen{Port: p, Transport: want.Transport})
		}
	}
	return ports
}

// intersect returns the ports that both ranges have; no range is all ports.
func intersect(a, b contract.Ports) (contract.Ports, bool) {
	all := contract.Ports{}
	switch {
	case a == all:
		return b, true
	case b == all:
		return a, true
	}
	p := contract.Ports{First: max(a.First, b.First), Last: min(a.Last, b.Last)}
	return p, p.First <= p.Last
}

// allListens are the ports of listens with their transports written out.
func allListens(spec *contract.Spec) []contract.Listen {
	var ports []contract.Listen
	for _, l := range spec.Listens {
		ports = append(ports, contract.Listen{Port: l.Port, Transport: transport(l.Transport)})
	}
	return ports
}
