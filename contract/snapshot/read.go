// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// Unmarshal reads what Marshal wrote into what a pointer points to. Where a pointer points to something when it is
// first read that is filled, so that what was left out stays.
func Unmarshal(data []byte, root any, dynamic ...any) error {
	r := &reader{forms: newForms(dynamic), data: data}
	v := held(reflect.ValueOf(root))
	form, ok := bytes.CutPrefix(data, r.digest(v.Type()))
	if !ok {
		return ErrForm
	}
	r.data = form
	if err := r.value(v); err != nil {
		return fmt.Errorf("read %T: %w", root, err)
	}
	if len(r.data) > 0 {
		return fmt.Errorf("read %T: %w", root, errCut)
	}
	return nil
}

type reader struct {
	forms
	data []byte
	// Everything that was pointed to, by number less one.
	there []reflect.Value
}

func (r *reader) number() (uint64, error) {
	n, size := binary.Uvarint(r.data)
	if size <= 0 {
		return 0, errCut
	}
	r.data = r.data[size:]
	return n, nil
}

// length is a number of things that are yet to be read, each of which takes a byte or more.
func (r *reader) length() (int, error) {
	n, err := r.number()
	if err == nil && n > uint64(len(r.data)) {
		err = errCut
	}
	return int(n), err //nolint:gosec // no more than there are bytes
}

func (r *reader) bytes() ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b, nil
}

// value reads into a value that can be set.
func (r *reader) value(v reflect.Value) error {
	switch r.form(v.Type()) {
	case omitted:
		return nil
	case itself:
		b, err := r.bytes()
		if err != nil {
			return err
		}
		return v.Addr().Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
	case asMessage:
		return r.pointer(v, func(to reflect.Value) error {
			b, err := r.bytes()
			if err != nil {
				return err
			}
			return proto.Unmarshal(b, to.Interface().(proto.Message))
		})
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, size := binary.Varint(r.data)
		if size <= 0 {
			return errCut
		}
		r.data = r.data[size:]
		v.SetInt(n)
	case reflect.String:
		b, err := r.bytes()
		v.SetString(string(b))
		return err
	case reflect.Struct:
		for _, i := range r.written(v.Type()) {
			if err := r.value(field(v, i)); err != nil {
				return err
			}
		}
	case reflect.Array:
		return r.elements(v)
	case reflect.Slice:
		n, err := r.many(v)
		if err != nil || n < 0 {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		return r.elements(v)
	case reflect.Map:
		return r.entries(v)
	case reflect.Pointer:
		return r.pointer(v, func(to reflect.Value) error { return r.value(to.Elem()) })
	case reflect.Interface:
		return r.dynamicValue(v)
	default:
		return r.scalar(v)
	}
	return nil
}

func (r *reader) scalar(v reflect.Value) error {
	n, err := r.number()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(n != 0)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(math.Float64frombits(n))
	default:
		return fmt.Errorf("a %s has no form", v.Type())
	}
	return err
}

// many reads how much a slice or map holds, and makes it nil when the answer is less than nothing.
func (r *reader) many(v reflect.Value) (int, error) {
	n, err := r.number()
	if err == nil && n > uint64(len(r.data))+1 {
		err = errCut
	}
	if err != nil || n == 0 {
		v.SetZero()
		return -1, err
	}
	return int(n - 1), nil //nolint:gosec // no more than there are bytes
}

func (r *reader) elements(v reflect.Value) error {
	for i := range v.Len() {
		if err := r.value(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) entries(v reflect.Value) error {
	n, err := r.many(v)
	if err != nil || n < 0 {
		return err
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), n))
	for range n {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		if err := r.value(key); err != nil {
			return err
		}
		if err := r.value(value); err != nil {
			return err
		}
		v.SetMapIndex(key, value)
	}
	return nil
}

func (r *reader) pointer(v reflect.Value, read func(to reflect.Value) error) error {
	n, err := r.number()
	switch {
	case err != nil:
		return err
	case n == 0:
		v.SetZero()
	case n <= uint64(len(r.there)):
		to := r.there[n-1]
		if to.Type() != v.Type() {
			return errCut
		}
		v.Set(to)
	case n == uint64(len(r.there))+1:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		to := held(v) // v may be the place where the next one is read, too
		r.there = append(r.there, to)
		return read(to)
	default:
		return errCut
	}
	return nil
}

func (r *reader) dynamicValue(v reflect.Value) error {
	n, err := r.number()
	switch {
	case err != nil:
		return err
	case n == 0:
		v.SetZero()
		return nil
	case n > uint64(len(r.dynamic)) || !r.dynamic[n-1].AssignableTo(v.Type()):
		return errCut
	}
	part := reflect.New(r.dynamic[n-1]).Elem()
	if err := r.value(part); err != nil {
		return err
	}
	v.Set(part)
	return nil
}
