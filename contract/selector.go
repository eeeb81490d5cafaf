// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// unlabelled are the kinds of workloads that never have labels.
var unlabelled = []string{"Unit", "Session", "Host", "Kernel"}

// matches says whether an expression is true of labels.
func (e Expression) matches(l Labels) answered {
	value, has := l.values[e.Key]
	if !has && !l.all {
		return perhaps
	}
	ok := has
	switch e.Operator {
	case In:
		ok = has && slices.Contains(e.Values, value)
	case NotIn:
		ok = !has || !slices.Contains(e.Values, value)
	case Exists:
	case DoesNotExist:
		ok = !has
	}
	if !ok {
		return never
	}
	return always
}

// conditions are what a selector asks of labels, matchLabels and matchExpressions alike: what means the same is the same here, and stands in
// the same order.
func (s Selector) conditions() []Expression {
	var all []Expression
	for key, value := range s.MatchLabels {
		all = append(all, Expression{key, In, []string{value}})
	}
	for _, e := range s.MatchExpressions {
		values := slices.Clone(e.Values)
		slices.Sort(values)
		all = append(all, Expression{e.Key, e.Operator, slices.Compact(values)})
	}
	slices.SortFunc(all, func(a, b Expression) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(all, func(a, b Expression) bool { return a.String() == b.String() })
}

// ByLabels says whether a selector asks for labels. It is about no workload then that never has any, such as a unit.
func (s Selector) ByLabels() bool { return len(s.MatchLabels) > 0 || len(s.MatchExpressions) > 0 }

// Labels writes what a selector asks of labels as Kubernetes writes selectors: app=checkout,tier in (back,front),!canary. It is "" when it
// asks nothing.
func (s Selector) Labels() string {
	var parts []string
	for _, e := range s.conditions() {
		parts = append(parts, e.String())
	}
	return strings.Join(parts, ",")
}

// String writes the expression as Kubernetes does.
func (e Expression) String() string {
	switch {
	case e.Operator == Exists:
		return e.Key
	case e.Operator == DoesNotExist:
		return "!" + e.Key
	case e.Operator == In && len(e.Values) == 1:
		return e.Key + "=" + e.Values[0]
	}
	return e.Key + " " + strings.ToLower(string(e.Operator)) + " (" + strings.Join(e.Values, ",") + ")"
}

// validateSelector: a workload is selected by its kind and name, or by its labels.
func (c *Contract) validateSelector(found *problems) {
	const at = "spec.workload"
	w := c.Spec.Workload
	if f := checkKind(string(w.Kind)); f != nil && w.Kind != "" {
		found.path(at+".kind", f.fix, at+".kind: %s", f.problem)
	}
	_, written := found.places[at]
	if found.spoilt[at] || !written && reflect.ValueOf(w).IsZero() { // missing altogether
		return
	}
	byLabels := w.MatchLabels != nil || w.MatchExpressions != nil
	instead := ""
	if w.Kind == "" && w.Name == "" {
		instead = ", or select by labels: matchLabels: {app: ...}"
	}
	for _, part := range []struct {
		name  string
		value NamePattern
	}{{"kind", w.Kind}, {"name", w.Name}} {
		if name := join(at, part.name); part.value == "" && !byLabels && !found.spoilt[name] {
			found.path(name, "add "+part.name+": ..."+instead, "%s is missing", name)
		}
	}
	if byLabels && slices.Contains(unlabelled, string(w.Kind)) {
		found.path(at+".kind", "select it by its name", "%s.kind: a %s has no labels", at, w.Kind)
	}
	w.validateLabels(found, at+".matchLabels")
	w.validateExpressions(found, at+".matchExpressions")
}

func (s Selector) validateLabels(found *problems, at string) {
	if s.MatchLabels != nil && len(s.MatchLabels) == 0 {
		found.path(at, "write a label, for example {app: checkout}, or leave it out", "%s is empty", at)
	}
	if n := len(s.MatchLabels); n > spoorv1.MaxLabels {
		found.path(at, "write those that matter", "%s has %d labels, more than %d are kept of any workload", at, n, spoorv1.MaxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		if field := join(at, key); !found.spoilt[field] && checkLabelKey(found, field, at, key) {
			checkLabelValue(found, field, s.MatchLabels[key])
		}
	}
}

func (s Selector) validateExpressions(found *problems, at string) {
	if s.MatchExpressions != nil && len(s.MatchExpressions) == 0 && !found.spoilt[at] {
		found.path(at, "write an expression, for example {key: canary, operator: DoesNotExist}, or leave it out", "%s is empty", at)
	}
	if n := len(s.MatchExpressions); n > spoorv1.MaxLabels {
		found.path(at, "write those that matter", "%s has %d entries, more than %d labels are kept of any workload", at, n, spoorv1.MaxLabels)
		return
	}
	for i, e := range s.MatchExpressions {
		entry := fmt.Sprintf("%s[%d]", at, i)
		key, values := entry+".key", entry+".values"
		if found.spoilt[entry] {
			continue
		}
		if !found.spoilt[key] && e.Key != "" {
			checkLabelKey(found, key, key, e.Key)
		}
		switch {
		case found.spoilt[values] || e.Operator == "": // told already
		case e.Operator.hasValues() && len(e.Values) == 0:
			found.path(values, "add values: [...]", "%s: %s needs one at least", values, e.Operator)
		case !e.Operator.hasValues() && len(e.Values) > 0:
			found.path(values, "leave them out, or write In", "%s: %s takes none", values, e.Operator)
			continue
		case len(e.Values) > maxEntries:
			found.path(values, "write several contracts", "%s has %d entries, more than %d", values, len(e.Values), maxEntries)
			continue
		}
		for j, value := range e.Values {
			checkLabelValue(found, fmt.Sprintf("%s[%d]", values, j), value)
		}
	}
}

// Kubernetes' form for values of labels, and for their keys behind the slash, which must not be empty.
var labelValue = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`)

const maxLabelPart = 63

// checkLabelKey finds what cannot be the key of a label that is kept: it stands at a field, and what names it is called so.
func checkLabelKey(found *problems, field, called, key string) bool {
	prefix, name, prefixed := strings.Cut(key, "/")
	if !prefixed {
		prefix, name = "", key
	}
	switch {
	case name == "" || len(name) > maxLabelPart || !labelValue.MatchString(name) || prefixed && !objectName.MatchString(prefix):
		found.path(field, "write a key as Kubernetes has it, for example app.kubernetes.io/name", "%s: %q cannot be the key of a label", called, clip(key))
	case !spoorv1.LabelIsKept(key):
		found.path(field, "choose a label that people gave to the workload", "%s: %s is of one pod, one revision or a container runtime, and is not kept", called, key)
	default:
		return true
	}
	return false
}

func checkLabelValue(found *problems, field, value string) {
	switch {
	case found.spoilt[field]:
	case strings.Contains(value, "*"):
		found.path(field, "write the whole value; in kind and name * stands for any characters", "%s: %q has a wildcard, and labels are matched as they are", field, clip(value))
	case len(value) > maxLabelPart || !labelValue.MatchString(value):
		found.path(field, "write letters, digits, -, _ and ., at most 63", "%s: %q cannot be the value of a label", field, clip(value))
	}
}
