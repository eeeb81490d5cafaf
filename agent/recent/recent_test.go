// SPDX-License-Identifier: Apache-2.0

package recent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSize(t *testing.T) {
	m := New[int, string](8, 0)
	for k := range 100 {
		m.Put(k, "x")
		m.Get(0) // is asked for again and again
		if m.Len() > 8 {
			t.Fatalf("%d keys are remembered, want 8 at most", m.Len())
		}
	}
	for _, k := range []int{0, 96, 97, 98, 99} {
		if _, ok := m.Peek(k); !ok {
			t.Errorf("%d was forgotten", k)
		}
	}
	if m.Has(50) {
		t.Error("50 is remembered")
	}
	m.Put(99, "y")
	if v, _ := m.Get(99); v != "y" {
		t.Errorf("99 is %q", v)
	}
	m.Remove(99)
	m.Remove(96)
	if m.Has(99) || m.Has(96) {
		t.Error("what was removed is there")
	}
}

func TestWeight(t *testing.T) {
	const most = 100
	m := New[int, string](1000, 0).Weighing(most, func(_ int, v string) int { return len(v) })
	bytes := func() (n int) {
		for _, generation := range []map[int]string{m.young, m.old} {
			for _, v := range generation {
				n += len(v)
			}
		}
		return n
	}
	check := func(what string) {
		t.Helper()
		if n := bytes(); n > most {
			t.Fatalf("%s: %d bytes are remembered, want %d at most", what, n, most)
		}
	}
	for k := range 50 {
		m.Put(k, "tenletters")
		m.Get(0)
		check("many")
	}
	if !m.Has(0) || !m.Has(49) || m.Has(30) {
		t.Error("it forgot what was used last, or remembers what was not")
	}
	for n := range 50 { // one that grows
		m.Put(0, strings.Repeat("x", n))
		check("growing")
	}
	for k := range 50 { // what is removed makes room
		m.Put(-1, "is kept")
		m.Put(k, "tenletters")
		m.Remove(k)
	}
	if !m.Has(-1) || m.bytes < 0 {
		t.Error("what was removed counts still")
	}
	m.Put(2, strings.Repeat("x", 2*most))
	if !m.Has(2) {
		t.Error("what is larger than all of it is not remembered even alone")
	}
}

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[string, int](1000, time.Minute)
		has := func(want ...string) {
			t.Helper()
			for _, k := range want {
				if !m.Has(k) {
					t.Errorf("%s was forgotten", k)
				}
			}
			if m.Len() != len(want) {
				t.Errorf("%d are remembered, want %v", m.Len(), want)
			}
		}
		m.Put("a", 1)
		m.Put("b", 1)
		time.Sleep(90 * time.Second)
		m.Put("c", 1)
		m.Get("a")
		has("a", "b", "c")
		time.Sleep(90 * time.Second)
		m.Put("d", 1)
		has("a", "c", "d")
		time.Sleep(time.Hour)
		if _, ok := m.Get("a"); ok {
			t.Error("a is remembered after an hour")
		}
		m.Put("e", 1)
		has("e")
	})
}
