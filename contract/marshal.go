// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Marshal writes contracts as YAML documents that Parse reads back as they are. Each entry of a list stands
// on a line of its own, so that a change of one shows as a change of one line. The contracts must be valid.
func Marshal(contracts ...*Contract) ([]byte, error) {
	var b bytes.Buffer
	for i, c := range contracts {
		text, err := MarshalCommented(c, nil)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(text)
	}
	return b.Bytes(), nil
}

// Comments are remarks for the readers of a contract, by where they stand: "" for the top, spec.state for a field,
// spec.calls[0] for an entry of a list.
type Comments map[string]Comment

// Comment is what stands above a line, each string a line of its own, and what stands at its end.
type Comment struct {
	Above  []string
	Beside string
	// Below stands after a field or list.
	Below []string
}

// MarshalCommented writes one contract with remarks. Lines that are remarks alone may hold entries that a reader is
// to decide about.
func MarshalCommented(c *Contract, comments Comments) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("marshal contract %q: %w", c.FullName(), err)
	}
	w := yamlWriter{comments: comments}
	w.remark(comments[""].Above, "")
	w.block(reflect.ValueOf(c).Elem(), "", "")
	return w.Bytes(), nil
}

type yamlWriter struct {
	bytes.Buffer
	comments Comments
}

func (w *yamlWriter) remark(lines []string, indent string) {
	for _, line := range lines {
		// No remark ends where somebody else's text has a newline.
		line = strings.TrimRight(indent+"# "+printable(line), " ")
		w.WriteString(line + "\n")
	}
}

// line writes text and what stands beside it.
func (w *yamlWriter) line(text, path string) {
	w.WriteString(text)
	if beside := w.comments[path].Beside; beside != "" {
		w.WriteString("  # " + printable(beside))
	}
	w.WriteByte('\n')
}

// block writes the fields of a struct, one a line.
func (w *yamlWriter) block(v reflect.Value, path, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		value, at := v.Field(f.index), join(path, f.name)
		if !f.required && value.IsZero() {
			continue
		}
		w.remark(w.comments[at].Above, indent)
		head := indent + f.name + ":"
		switch {
		case value.Kind() == reflect.Slice && value.Len() == 0:
			w.line(head+" []", at)
		case value.Kind() == reflect.Slice:
			w.line(head, at)
			for i := range value.Len() {
				entry := fmt.Sprintf("%s[%d]", at, i)
				w.remark(w.comments[entry].Above, indent+"  ")
				w.line(indent+"  - "+flow(value.Index(i)), entry)
			}
		case value.Kind() == reflect.Struct && f.name == "spec":
			w.line(head, at)
			w.block(value, at, indent+"  ")
		default:
			w.line(head+" "+flow(value), at)
		}
		below := indent
		if value.Kind() == reflect.Slice {
			below += "  "
		}
		w.remark(w.comments[at].Below, below)
	}
}

// flow writes a value on one line.
func flow(v reflect.Value) string {
	var parts []string
	switch {
	case isScalar(v):
		return scalarText(v)
	case v.Kind() == reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			if value := v.Field(f.index); f.required || !value.IsZero() {
				parts = append(parts, f.name+": "+flow(value))
			}
		}
	case v.Kind() == reflect.Map:
		for _, key := range v.MapKeys() {
			parts = append(parts, scalarText(key)+": "+flow(v.MapIndex(key)))
		}
		slices.Sort(parts)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, flow(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func isScalar(v reflect.Value) bool {
	_, text := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(v.Type()))
	return text || v.Kind() == reflect.String
}

// Plain YAML text, also inside { }, that no reader takes for a number, a boolean or null. Numbers are
// written bare only where the format has numbers.
var (
	plainText   = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./@*+-]*$`)
	plainNumber = regexp.MustCompile(`^[0-9]{1,15}$`)
	plainAmount = regexp.MustCompile(`^[0-9]+[A-Za-z][0-9A-Za-z]*$|^[0-9]+-[0-9]+$|^[0-9]+(\.[0-9]+){3}/[0-9]+$`)
	yamlWords   = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)

func scalarText(v reflect.Value) string {
	s := textOf(v)
	switch v.Interface().(type) {
	case Duration, Bytes, Ports, CIDR:
		if plainNumber.MatchString(s) || plainAmount.MatchString(s) {
			return s
		}
	}
	if plainText.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	return quote(s)
}

// quote writes s as a JSON string, which is also a YAML one.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// A string always encodes.
	_ = e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

// Line writes one entry of a list as it would stand in a file.
func Line[T Scratch | Volume | Listen | Caller | Call | Share](entry T) string {
	return "- " + flow(reflect.ValueOf(entry))
}
