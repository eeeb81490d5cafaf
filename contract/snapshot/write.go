// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Marshal writes down what a pointer points to. Dynamic are values of all types that its interfaces may hold, in any order that is the
// same for Unmarshal.
func Marshal(root any, dynamic ...any) ([]byte, error) {
	w := &writer{forms: newForms(dynamic), numbers: map[pointer]uint64{}}
	v := held(reflect.ValueOf(root))
	w.data = w.digest(v.Type())
	if err := w.value(v); err != nil {
		return nil, fmt.Errorf("write down %T: %w", root, err)
	}
	return w.data, nil
}

// pointer is what was pointed to before. A struct and its first field have one address, and are of two types.
type pointer struct {
	to uintptr
	as reflect.Type
}

type writer struct {
	forms
	data    []byte
	numbers map[pointer]uint64
}

func (w *writer) number(n uint64) { w.data = binary.AppendUvarint(w.data, n) }

func (w *writer) bytes(b []byte) {
	w.number(uint64(len(b)))
	w.data = append(w.data, b...)
}

// value writes a value that can be addressed.
func (w *writer) value(v reflect.Value) error {
	switch w.form(v.Type()) {
	case omitted:
		return nil
	case itself:
		b, err := v.Interface().(encoding.BinaryMarshaler).MarshalBinary()
		w.bytes(b)
		return err
	case asMessage:
		return w.pointer(v, func() error {
			b, err := proto.Marshal(v.Interface().(proto.Message))
			w.bytes(b)
			return err
		})
	}
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			w.number(1)
		} else {
			w.number(0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.data = binary.AppendVarint(w.data, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.number(v.Uint())
	case reflect.Float32, reflect.Float64:
		w.number(math.Float64bits(v.Float()))
	case reflect.String:
		w.number(uint64(v.Len())) //nolint:gosec // a length
		w.data = append(w.data, v.String()...)
	case reflect.Struct:
		for _, i := range w.written(v.Type()) {
			if err := w.value(field(v, i)); err != nil {
				return err
			}
		}
	case reflect.Array:
		return w.elements(v)
	case reflect.Slice:
		if v.IsNil() {
			w.number(0)
			return nil
		}
		w.number(uint64(v.Len()) + 1) //nolint:gosec // a length
		return w.elements(v)
	case reflect.Map:
		return w.entries(v)
	case reflect.Pointer:
		return w.pointer(v, func() error { return w.value(v.Elem()) })
	case reflect.Interface:
		return w.dynamicValue(v)
	default:
		return fmt.Errorf("a %s has no form", v.Type())
	}
	return nil
}

func (w *writer) elements(v reflect.Value) error {
	for i := range v.Len() {
		if err := w.value(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) entries(v reflect.Value) error {
	if v.IsNil() {
		w.number(0)
		return nil
	}
	w.number(uint64(v.Len()) + 1) //nolint:gosec // a length
	// Neither keys nor values of a map can be addressed.
	key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
	for each := v.MapRange(); each.Next(); {
		key.SetIterKey(each)
		value.SetIterValue(each)
		if err := w.value(key); err != nil {
			return err
		}
		if err := w.value(value); err != nil {
			return err
		}
	}
	return nil
}

// pointer writes 0 for nil, the number of what was written before, or the next number and what is there.
func (w *writer) pointer(v reflect.Value, there func() error) error {
	if v.IsNil() {
		w.number(0)
		return nil
	}
	p := pointer{v.Pointer(), v.Type()}
	n, known := w.numbers[p]
	if !known {
		n = uint64(len(w.numbers)) + 1
		w.numbers[p] = n
	}
	w.number(n)
	if known {
		return nil
	}
	return there()
}

func (w *writer) dynamicValue(v reflect.Value) error {
	if v.IsNil() {
		w.number(0)
		return nil
	}
	t := v.Elem().Type()
	i := slices.Index(w.dynamic, t)
	if i < 0 {
		return fmt.Errorf("a %s was not said to be in a %s", t, v.Type())
	}
	w.number(uint64(i) + 1)
	return w.value(held(v.Elem()))
}
