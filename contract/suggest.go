// SPDX-License-Identifier: Apache-2.0

package contract

import "strings"

// nearest returns the word that was probably meant.
func nearest(s string, words []string) (string, bool) {
	best, bestDistance := "", 1+len(s)/4+1
	low := strings.ToLower(s)
	for _, w := range words {
		lw := strings.ToLower(w)
		d := distance(low, lw)
		if len(low) >= 3 && (strings.HasPrefix(lw, low) || strings.HasPrefix(low, lw)) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between two short strings.
// Long ones are never near: the cost is the product of the lengths.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return max(len(a), len(b))
	}
	var rows [3][41]int
	for j := range len(b) {
		rows[0][j+1] = j + 1
	}
	before, last, this := &rows[2], &rows[0], &rows[1]
	for i := range len(a) {
		this[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			this[j+1] = min(last[j+1]+1, this[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				this[j+1] = min(this[j+1], before[j-1]+1)
			}
		}
		before, last, this = last, this, before
	}
	return last[len(b)]
}

// list writes words as people do: a, b and c.
func list(words []string, and string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + and + " " + words[len(words)-1]
}
