// SPDX-License-Identifier: Apache-2.0

package render

import "strings"

// wrap breaks text between words, and words that are longer than a line, so that it fits beside an indent.
// Without a width it stays one line.
func wrap(txt string, columns, indent int) string {
	room := columns - indent
	if columns <= 0 || room < 20 {
		return txt
	}
	var b strings.Builder
	used := 0
	newline := func() {
		b.WriteString("\n" + strings.Repeat(" ", indent))
		used = 0
	}
	for i, word := range strings.Fields(txt) {
		n := width(word)
		switch {
		case i == 0:
		case used+1+n > room && (n <= room || used > room/2):
			newline()
		default:
			b.WriteByte(' ')
			used++
		}
		for _, r := range word {
			if used+runeWidth(r) > room {
				newline()
			}
			b.WriteRune(r)
			used += runeWidth(r)
		}
	}
	return b.String()
}
