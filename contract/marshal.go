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
		if err := c.Validate(); err != nil {
			return nil, fmt.Errorf("marshal contract %q: %w", c.FullName(), err)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		writeBlock(&b, reflect.ValueOf(c).Elem(), "")
	}
	return b.Bytes(), nil
}

// writeBlock writes the fields of a struct, one a line.
func writeBlock(b *bytes.Buffer, v reflect.Value, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		if !f.required && value.IsZero() {
			continue
		}
		b.WriteString(indent + f.name + ":")
		switch {
		case isScalar(value):
			b.WriteString(" " + scalarText(value) + "\n")
		case value.Kind() == reflect.Slice && value.Len() == 0:
			b.WriteString(" []\n")
		case value.Kind() == reflect.Slice:
			b.WriteByte('\n')
			for i := range value.Len() {
				b.WriteString(indent + "  - " + flow(value.Index(i)) + "\n")
			}
		case value.Kind() == reflect.Struct && f.name == "spec":
			b.WriteByte('\n')
			writeBlock(b, value, indent+"  ")
		default:
			b.WriteString(" " + flow(value) + "\n")
		}
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
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func isScalar(v reflect.Value) bool {
	_, text := reflect.New(v.Type()).Interface().(encoding.TextUnmarshaler)
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

// line writes one entry of a list as it would stand in a file, for the fix of a verdict.
func line[T Scratch | Volume | Listen | Caller | Call](entry T) string {
	return "- " + flow(reflect.ValueOf(entry))
}
