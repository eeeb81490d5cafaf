// SPDX-License-Identifier: Apache-2.0

package spoorv1

import "testing"

// TestTakeFact: every fact that a record can have arrives in the event, under its own name and number.
func TestTakeFact(t *testing.T) {
	facts := (&Record{}).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range facts.Len() {
		field := facts.Get(i)
		r := &Record{}
		want := r.ProtoReflect().Mutable(field).Message().Interface()
		ev := &Event{}
		if !ev.TakeFact(r) {
			t.Errorf("%s is not taken", field.Name())
			continue
		}
		m := ev.ProtoReflect()
		got := m.WhichOneof(m.Descriptor().Oneofs().ByName("fact"))
		if got == nil || got.Name() != field.Name() || got.Number() != field.Number() || m.Get(got).Message().Interface() != want {
			t.Errorf("%s became %v", field.Name(), got)
		}
		if ev.FactName() != string(field.Name()) {
			t.Errorf("%s is named %q", field.Name(), ev.FactName())
		}
	}
	if (&Event{}).TakeFact(&Record{}) || (&Event{}).FactName() != "" {
		t.Error("a record without a fact had one")
	}
}

// TestGiveFact: what an event gives is what it would take.
func TestGiveFact(t *testing.T) {
	facts := (&Event{}).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range facts.Len() {
		field := facts.Get(i)
		ev := &Event{}
		want := ev.ProtoReflect().Mutable(field).Message().Interface()
		r := &Record{}
		if !ev.GiveFact(r) {
			t.Errorf("%s is not given", field.Name())
			continue
		}
		m := r.ProtoReflect()
		if got := m.WhichOneof(m.Descriptor().Oneofs().ByName("fact")); got.Number() != field.Number() || m.Get(got).Message().Interface() != want {
			t.Errorf("%s became %v", field.Name(), got)
		}
	}
	if (&Event{}).GiveFact(&Record{}) {
		t.Error("an event without a fact gave one")
	}
}
