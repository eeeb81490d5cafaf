// SPDX-License-Identifier: Apache-2.0

// Package snapshot writes a value down with everything that it points to, unexported fields included, and reads it again into a value
// of the same type: two pointers to one thing are that afterwards, too. It knows nothing of what the values mean.
//
// Protocol buffer messages are written in their own form, and so are types that bring one (encoding.BinaryMarshaler: times,
// addresses). Functions, and fields with the tag `snapshot:"-"`, are left out: who reads has them, or sets them. Pointers into
// the middle of another value, and slices that share an array, come apart.
package snapshot

import (
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// ErrForm is the error of Unmarshal for what was written of other types than those that are to be read: by another version.
var ErrForm = errors.New("it was written by another version")

// errCut is the error for data that ends too early, or cannot have been written by Marshal.
var errCut = errors.New("it is damaged")

var (
	message     = reflect.TypeFor[proto.Message]()
	marshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	unmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// form is how values of a type are written.
type form int

const (
	plain form = iota
	asMessage
	itself
	omitted
)

func formOf(t reflect.Type) form {
	switch {
	case t.Kind() == reflect.Func:
		return omitted
	case t.Kind() == reflect.Pointer && t.Implements(message):
		return asMessage
	case t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && t.Implements(marshaler) && reflect.PointerTo(t).Implements(unmarshaler):
		return itself
	default:
		return plain
	}
}

// forms remembers the forms of types, and which fields of a struct are written.
type forms struct {
	of     map[reflect.Type]form
	fields map[reflect.Type][]int
	// What an interface may hold.
	dynamic []reflect.Type
}

func newForms(dynamic []any) forms {
	f := forms{of: map[reflect.Type]form{}, fields: map[reflect.Type][]int{}}
	for _, d := range dynamic {
		f.dynamic = append(f.dynamic, reflect.TypeOf(d))
	}
	return f
}

func (f *forms) form(t reflect.Type) form {
	known, ok := f.of[t]
	if !ok {
		known = formOf(t)
		f.of[t] = known
	}
	return known
}

func (f *forms) written(t reflect.Type) []int {
	fields, ok := f.fields[t]
	if !ok {
		for i := range t.NumField() {
			if t.Field(i).Tag.Get("snapshot") != "-" {
				fields = append(fields, i)
			}
		}
		f.fields[t] = fields
	}
	return fields
}

// field is one that may be set, exported or not.
func field(v reflect.Value, i int) reflect.Value {
	part := v.Field(i)
	return reflect.NewAt(part.Type(), part.Addr().UnsafePointer()).Elem()
}

// held is a copy that can be addressed and set.
func held(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

// digest tells types apart by everything that is written of them.
func (f *forms) digest(root reflect.Type) []byte {
	h := sha256.New()
	seen := map[reflect.Type]bool{}
	f.describe(h, seen, root)
	for _, t := range f.dynamic {
		f.describe(h, seen, t)
	}
	return h.Sum(nil)[:8]
}

func (f *forms) describe(w io.Writer, seen map[reflect.Type]bool, t reflect.Type) {
	fmt.Fprintln(w, t.Kind(), t)
	if seen[t] || f.form(t) != plain {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for _, i := range f.written(t) {
			fmt.Fprintln(w, t.Field(i).Name)
			f.describe(w, seen, t.Field(i).Type)
		}
	case reflect.Map:
		f.describe(w, seen, t.Key())
		f.describe(w, seen, t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Array:
		f.describe(w, seen, t.Elem())
	}
}
