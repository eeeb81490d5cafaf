// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Validate checks a contract that was not parsed, in the words that Parse would use but without a position.
func (c *Contract) Validate() error {
	found := newProblems("")
	checkScalars(found, reflect.ValueOf(c).Elem(), "")
	c.validate(found)
	return found.err()
}

// checkScalars reads every value of c back from its text, since a program can put anything into it.
func checkScalars(found *problems, v reflect.Value, path string) {
	if _, scalar := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); scalar {
		if v.IsZero() {
			return
		}
		text := textOf(v)
		again := reflect.New(v.Type())
		err := again.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
		var f *fault
		switch {
		case errors.As(err, &f):
			found.spoilt[path] = true
			found.path(path, f.fix, "%s: %s", path, f.problem)
		case err == nil && !reflect.DeepEqual(again.Elem().Interface(), v.Interface()):
			found.spoilt[path] = true
			found.path(path, "write "+textOf(again.Elem()), "%s: %q is not in its plain form", path, text)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			checkScalars(found, v.Field(f.index), join(path, f.name))
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkScalars(found, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

// textOf is how a scalar of the format is written.
func textOf(v reflect.Value) string {
	if s, ok := reflect.TypeAssert[fmt.Stringer](v); ok {
		return s.String()
	}
	return v.String()
}

// validate finds what no single value shows. It adds problems at paths, and the caller knows where those stand.
func (c *Contract) validate(found *problems) {
	spec := reflect.ValueOf(c.Spec)
	for _, f := range fieldsOf(spec.Type()) {
		if v := spec.Field(f.index); v.Kind() == reflect.Slice && v.Len() > maxEntries {
			found.path("spec."+f.name, "use wildcards", "spec.%s has %d entries, more than %d", f.name, v.Len(), maxEntries)
		}
	}
	checkRequired(found, reflect.ValueOf(c).Elem(), "")
	if c.APIVersion != "" && c.APIVersion != APIVersion {
		found.path("apiVersion", "write "+APIVersion, "the version %q is not known", c.APIVersion)
	}
	if c.Kind != "" && c.Kind != Kind {
		fix := "write " + Kind
		if !strings.EqualFold(c.Kind, Kind) {
			fix += ", or move the document out of the folder of contracts"
		}
		found.path("kind", fix, "the kind %q is not known", c.Kind)
	}
	c.validateNames(found)
	c.validatePaths(found)
	c.validateFlows(found)
	c.validateShares(found)
}

// checkRequired reports fields that have no value and must have one.
func checkRequired(found *problems, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			at, value := join(path, f.name), v.Field(f.index)
			if found.spoilt[at] {
				continue
			}
			_, written := found.places[at]
			switch {
			case f.required && value.IsZero() && !written:
				found.path(at, "add "+f.name+": "+example(v.Field(f.index).Type(), at), "%s is missing", at)
				continue
			case f.required && value.IsZero() && value.Kind() != reflect.Struct:
				found.path(at, "write a value", "%s is empty", at)
				continue
			}
			checkRequired(found, value, at)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if at := fmt.Sprintf("%s[%d]", path, i); !found.spoilt[at] {
				checkRequired(found, v.Index(i), at)
			}
		}
	}
}

// example shows what a missing field needs at least.
func example(t reflect.Type, path string) string {
	switch {
	case path == "apiVersion":
		return APIVersion
	case path == "kind":
		return Kind
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[Ports]():
		return "..."
	case t == reflect.TypeFor[Selector]():
		return "{kind: ..., name: ...}"
	}
	var parts []string
	for _, f := range fieldsOf(t) {
		if f.required {
			parts = append(parts, f.name+": "+example(t.Field(f.index).Type, join(path, f.name)))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// Kubernetes' form for names of objects (RFC 1123 subdomain), so that every file can become an object.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func (c *Contract) validateNames(found *problems) {
	if name := c.Metadata.Name; name != "" && !objectName.MatchString(name) {
		found.path("metadata.name", "write lower-case letters, digits, - and ., for example "+objectNameFrom(name), "metadata.name: %q cannot name an object", clip(name))
	}
	if ns := c.Metadata.Namespace; ns != "" && !objectName.MatchString(ns) {
		fix := "write lower-case letters, digits, - and ."
		if strings.Contains(ns, "*") {
			fix = "leave it out, or write it in spec.workload.namespace"
		}
		found.path("metadata.namespace", fix, "metadata.namespace: %q cannot name a namespace", clip(ns))
	}
	c.validateSelector(found)
}

// objectNameFrom makes a name of whatever somebody wrote.
func objectNameFrom(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
		if b.Len() > 200 {
			break
		}
	}
	if name := strings.Trim(b.String(), "-."); name != "" {
		return name
	}
	return "checkout"
}

// maxEntries bounds each list. A contract of that size describes nothing that a person could review.
const maxEntries = 256

func (c *Contract) validatePaths(found *problems) {
	usable := func(path string, p PathPattern) bool {
		return !found.spoilt[path] && p != "" && checkPath(string(p)) == nil
	}
	for i, s := range c.Spec.Scratch[:min(len(c.Spec.Scratch), maxEntries)] {
		at := fmt.Sprintf("spec.scratch[%d].path", i)
		if !usable(at, s.Path) {
			continue
		}
		for j, t := range c.Spec.Scratch[:i] {
			other := fmt.Sprintf("spec.scratch[%d].path", j)
			if !usable(other, t.Path) || !s.Path.Overlaps(t.Path) {
				continue
			}
			where := "above"
			if line := found.place(other).line; line > 0 {
				where = fmt.Sprintf("in line %d", line)
			}
			found.path(at, "keep the wider one, or narrow them so that no file is under both", "scratch %q overlaps with %q %s", s.Path, t.Path, where)
		}
	}
	for i, v := range c.Spec.Volumes[:min(len(c.Spec.Volumes), maxEntries)] {
		for _, w := range c.Spec.Volumes[:i] {
			if v.Path != "" && v.Path == w.Path {
				found.path(fmt.Sprintf("spec.volumes[%d].path", i), "keep one of them", "the volume %q is written twice", v.Path)
			}
		}
	}
}

func (c *Contract) validateFlows(found *problems) {
	for i, l := range c.Spec.Listens[:min(len(c.Spec.Listens), maxEntries)] {
		for _, m := range c.Spec.Listens[:i] {
			if l.Port != (Ports{}) && l.Port.overlaps(m.Port) && l.Transport.orTCP() == m.Transport.orTCP() {
				found.path(fmt.Sprintf("spec.listens[%d]", i), "keep one of them", "the listener %s/%s is written twice", l.Port, l.Transport.orTCP())
			}
		}
	}
	for i, l := range c.Spec.Callers[:min(len(c.Spec.Callers), maxEntries)] {
		at := fmt.Sprintf("spec.callers[%d]", i)
		exactlyOne(found, at, []string{"workload", "cidr"}, []bool{l.Workload != Ref{}, !l.CIDR.IsZero()})
		for _, m := range c.Spec.Callers[:i] {
			m.Transport, l.Transport = m.Transport.orTCP(), l.Transport.orTCP()
			if l == m && !found.spoiltBelow(at) {
				found.path(at, "keep one of them", "the caller is written twice")
			}
		}
	}
	for i, l := range c.Spec.Calls[:min(len(c.Spec.Calls), maxEntries)] {
		at := fmt.Sprintf("spec.calls[%d]", i)
		exactlyOne(found, at, []string{"workload", "dns", "cidr"}, []bool{l.Workload != Ref{}, l.DNS != "", !l.CIDR.IsZero()})
		for _, m := range c.Spec.Calls[:i] {
			m.Purpose, m.Transport, l.Purpose, l.Transport = "", m.Transport.orTCP(), "", l.Transport.orTCP()
			if l == m && !found.spoiltBelow(at) {
				found.path(at, "keep one of them", "the call is written twice")
			}
		}
	}
}

func (c *Contract) validateShares(found *problems) {
	for i, s := range c.Spec.Shares[:min(len(c.Spec.Shares), maxEntries)] {
		at := fmt.Sprintf("spec.shares[%d]", i)
		if s == (Share{}) && !found.spoilt[at] && !found.spoiltBelow(at) {
			found.path(at, "write workload, path or both", "%s says neither what is shared nor with whom", at)
			continue
		}
		if slices.Contains(c.Spec.Shares[:i], s) && !found.spoiltBelow(at) {
			found.path(at, "keep one of them", "the share is written twice")
		}
	}
}

// exactlyOne checks that one of several fields that exclude each other is written.
func exactlyOne(found *problems, path string, names []string, written []bool) {
	var have []string
	for i, name := range names {
		if found.spoilt[path+"."+name] {
			return
		}
		if written[i] {
			have = append(have, name)
		}
	}
	switch {
	case found.spoilt[path] || len(have) == 1:
	case len(have) == 0:
		found.path(path, "write one of "+list(names, "and"), "%s does not say who", path)
	default:
		found.path(path, "write one entry for each", "%s has %s, which exclude each other", path, list(have, "and"))
	}
}
