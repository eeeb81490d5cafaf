// SPDX-License-Identifier: Apache-2.0

package buffer

import (
	"slices"
	"testing"
)

func TestCut(t *testing.T) {
	one := 1
	for _, tc := range []struct {
		name          string
		holds, leaves int
		again         bool // the memory is used again
	}{
		{"a little", 10, 0, true},
		{"a little stays", 10, 3, true},
		{"as much as is kept", kept, 0, true},
		{"much at once", kept + 1, 0, false},
		{"much at once, a little stays", 4 * kept, 3, false},
		{"much stays", 4 * kept, 2 * kept, true},
		{"nothing", 0, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := make([]*int, tc.holds)
			for i := range s {
				s[i] = &one
			}
			got := Cut(s, tc.leaves)
			if len(got) != tc.leaves || slices.Contains(got, nil) {
				t.Errorf("%d elements are left: %v", len(got), got)
			}
			if again := cap(got) == cap(s); again != tc.again {
				t.Errorf("room for %d of %d", cap(got), cap(s))
			}
			for i, p := range s[tc.leaves:] {
				if p != nil {
					t.Fatalf("element %d is referred to still", tc.leaves+i)
				}
			}
		})
	}
}

func TestEmptied(t *testing.T) {
	few, many := map[int]int{1: 1}, map[int]int{}
	for i := range kept + 1 {
		many[i] = i
	}
	if got := Emptied(few); len(got) != 0 || len(few) != 0 {
		t.Errorf("it holds %v", got)
	}
	if got := Emptied(many); len(got) != 0 || len(many) == 0 {
		t.Errorf("it holds %d; the other one %d", len(got), len(many))
	}
}
