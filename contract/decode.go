// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder reads a document's syntax tree into the types of the format. It goes on after a problem.
type decoder struct {
	*problems
	// Lines of the file before the document.
	offset int
}

// placeOf is where a person would put the finger to show n.
func (d *decoder) placeOf(n ast.Node) place {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return d.placeOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return d.placeOf(n.Key)
	}
	return d.placeOfToken(n.GetToken())
}

func (d *decoder) placeOfToken(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{d.offset + 1, 1}
	}
	return place{d.offset + t.Position.Line, max(t.Position.Column, 1)}
}

func (d *decoder) value(n ast.Node, dst reflect.Value, path string) {
	if isNull(n) {
		d.empty(n, dst, path)
		return
	}
	if path != "" {
		d.places[path] = d.placeOf(n)
	}
	if text, ok := reflect.TypeAssert[encoding.TextUnmarshaler](dst.Addr()); ok {
		d.scalar(n, path, func(s string) error { return text.UnmarshalText([]byte(s)) })
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		d.mapping(n, dst, path)
	case reflect.Slice:
		d.sequence(n, dst, path)
	case reflect.Map:
		d.dictionary(n, dst, path)
	case reflect.String:
		d.text(n, dst, path)
	default:
		panic("contract: a field of type " + dst.Type().String() + " cannot be decoded")
	}
}

func isNull(n ast.Node) bool {
	if n == nil {
		return true
	}
	_, null := n.(*ast.NullNode)
	return null
}

// empty reports a key without a value. Whether that means nothing or everything, only its author knows.
func (d *decoder) empty(n ast.Node, dst reflect.Value, path string) {
	d.spoilt[path] = true
	pos := d.place(path)
	if n != nil {
		pos = d.placeOf(n)
	}
	name := path[strings.LastIndex(path, ".")+1:]
	fix := "write a value, or leave the line out"
	if dst.Kind() == reflect.Slice {
		fix = fmt.Sprintf("write %s: [] for none, or leave the line out", name)
	}
	d.at(pos, fix, "%s has no value", path)
}

// describe says what a node is, in words for its author.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "the boolean " + n.Token.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", clip(n.Value))
	case *ast.LiteralNode:
		return "a block of text"
	default:
		return "something else"
	}
}

func (d *decoder) wrongType(n ast.Node, path, want, fix string) {
	d.spoilt[path] = true
	what := path
	if what == "" {
		what = "the document"
	}
	d.at(d.placeOf(n), fix, "%s must be %s and is %s", what, want, describe(n))
}

func (d *decoder) mapping(n ast.Node, dst reflect.Value, path string) {
	fields := fieldsOf(dst.Type())
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	entries, ok := entriesOf(n)
	if !ok {
		d.wrongType(n, path, "a mapping", fmt.Sprintf("write its fields as %s: ...", strings.Join(names, ": ..., ")))
		return
	}
	seen := map[string]place{}
	for _, e := range entries {
		key, pos := keyOf(e), d.placeOf(e.Key)
		if first, twice := seen[key]; twice {
			d.at(pos, fmt.Sprintf("keep one of them; the first is in line %d", first.line), "%q is written twice%s", key, in(path))
			continue
		}
		seen[key] = pos
		i := slices.Index(names, key)
		if i < 0 {
			fix := "leave it out; the fields here are " + list(names, "and")
			if near, ok := nearest(key, names); ok {
				fix = "write " + near
			} else if key == "protocol" && slices.Contains(names, "transport") { // as Kubernetes calls it
				fix = "write transport"
			}
			d.at(pos, fix, "unknown field %q%s", clip(key), in(path))
			continue
		}
		d.places[join(path, key)] = pos
		d.value(e.Value, dst.Field(fields[i].index), join(path, key))
	}
}

func in(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func entriesOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

func keyOf(e *ast.MappingValueNode) string {
	if s, ok := e.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return e.Key.GetToken().Value
}

func (d *decoder) sequence(n ast.Node, dst reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		fix := "write each entry on a line of its own, beginning with -"
		if _, mapping := entriesOf(n); mapping {
			fix = "put - before its first field to make it a list of one"
		}
		d.wrongType(n, path, "a list", fix)
		return
	}
	// An empty list is kept apart from none: it says that nothing is allowed.
	dst.Set(reflect.MakeSlice(dst.Type(), len(seq.Values), len(seq.Values)))
	for i, v := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if v != nil {
			d.places[at] = d.placeOf(v)
		}
		d.value(v, dst.Index(i), at)
	}
}

func (d *decoder) dictionary(n ast.Node, dst reflect.Value, path string) {
	entries, ok := entriesOf(n)
	if !ok {
		d.wrongType(n, path, "a mapping", "write it as key: value")
		return
	}
	dst.Set(reflect.MakeMap(dst.Type()))
	for _, e := range entries {
		key := keyOf(e)
		at := join(path, key)
		if dst.MapIndex(reflect.ValueOf(key)).IsValid() {
			d.at(d.placeOf(e.Key), "keep one of them", "%q is written twice%s", clip(key), in(path))
			continue
		}
		d.places[at] = d.placeOf(e.Key)
		v := reflect.New(dst.Type().Elem()).Elem()
		d.value(e.Value, v, at)
		dst.SetMapIndex(reflect.ValueOf(key), v)
	}
}

func (d *decoder) text(n ast.Node, dst reflect.Value, path string) {
	switch n := n.(type) {
	case *ast.StringNode:
		dst.SetString(n.Value)
	case *ast.LiteralNode:
		dst.SetString(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		d.wrongType(n, path, "text", fmt.Sprintf("put it in quotes: %q", n.GetToken().Value))
	default:
		d.wrongType(n, path, "text", "write one value")
	}
}

// scalar hands the text of a value to set. Numbers are passed as they are written: some fields take them,
// and for the others the type knows best what is missing.
func (d *decoder) scalar(n ast.Node, path string, set func(string) error) {
	var s string
	switch n := n.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = strings.TrimSuffix(n.Value.Value, "\n")
	case *ast.IntegerNode, *ast.FloatNode:
		s = n.GetToken().Value
	case *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		d.wrongType(n, path, "text", fmt.Sprintf("put it in quotes if it is meant so: %q", n.GetToken().Value))
		return
	default:
		d.wrongType(n, path, "one value", "write it without - and without fields")
		return
	}
	if err := set(s); err != nil {
		d.spoilt[path] = true
		var f *fault
		if !errors.As(err, &f) {
			f = &fault{problem: err.Error()}
		}
		d.path(path, f.fix, "%s: %s", path, f.problem)
	}
}

// field is one field of a struct of the format.
type field struct {
	name     string
	index    int
	required bool
}

// fieldsOf lists the fields in the order in which they are written.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("json")
		if !ok {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		fields = append(fields, field{name: name, index: i, required: !strings.Contains(options, "omitzero")})
	}
	return fields
}
