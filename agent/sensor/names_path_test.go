// SPDX-License-Identifier: Apache-2.0

package sensor

import "testing"

func TestUndo(t *testing.T) {
	// In the order in which they happened; undo wants the latest first.
	b := &batch{moves: []move{
		{index: 9, fsid: 1, old: "/x", new: "/y", exchange: true},
		{index: 7, fsid: 1, old: "/c", new: "/d/e"},
		{index: 5, fsid: 2, old: "/b", new: "/c"},
		{index: 3, fsid: 1, old: "/a", new: "/b"},
		{index: 2, fsid: 1, old: "", new: "/b"},
	}}
	for _, tc := range []struct {
		path      string
		at, until int
		want      string
	}{
		{"/b/f", 0, 20, "/a/f"},
		{"/b", 0, 20, "/a"},
		{"/bc/f", 0, 20, "/bc/f"},
		{"/b/f", 3, 20, "/b/f"},
		{"/b/f", 0, 3, "/b/f"},
		{"/d/e/f", 0, 20, "/c/f"},
		{"/d/f", 0, 20, "/d/f"},
		{"/x/f", 0, 20, "/y/f"},
		{"/y/f", 0, 20, "/x/f"},
		{"/y/f", 9, 20, "/y/f"},
	} {
		if got := b.undo(tc.path, 1, tc.at, tc.until); got != tc.want {
			t.Errorf("%s between %d and %d was %s, want %s", tc.path, tc.at, tc.until, got, tc.want)
		}
	}
}
