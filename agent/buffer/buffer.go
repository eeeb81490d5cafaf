// SPDX-License-Identifier: Apache-2.0

// Package buffer is for what is filled and emptied again and again, twice a second all day: its memory is used again, but not kept for
// good when there was much once. A build makes ten thousands of files in a moment, and hours may pass until the next.
package buffer

import "slices"

// kept is how many elements a buffer has room for at any time, once it had that many.
const kept = 512

// Cut leaves the first n elements of s, and nothing that the others refer to.
func Cut[S ~[]E, E any](s S, n int) S {
	clear(s[n:])
	if cap(s) > max(kept, 4*n) {
		return slices.Clone(s[:n:n])
	}
	return s[:n]
}

// Emptied returns m, or another map in its place, with nothing in it.
func Emptied[M ~map[K]V, K comparable, V any](m M) M {
	if len(m) > kept { // a map that is cleared keeps its memory
		return M{}
	}
	clear(m)
	return m
}
