// SPDX-License-Identifier: Apache-2.0

package render

import "strings"

// wide lists the blocks whose characters take two columns of a terminal (Unicode East Asian Width W and F),
// as ranges of first and last. Characters are escaped unless visible, so no other width than 1 and 2 exists.
var wide = [...][2]rune{
	{0x1100, 0x115f},
	{0x231a, 0x231b},
	{0x2329, 0x232a},
	{0x23e9, 0x23ec},
	{0x25fd, 0x25fe},
	{0x2614, 0x2615},
	{0x2648, 0x2653},
	{0x26a1, 0x26a1},
	{0x2705, 0x2705},
	{0x274c, 0x274e},
	{0x2753, 0x2757},
	{0x2795, 0x2797},
	{0x2b1b, 0x2b1c},
	{0x2b50, 0x2b55},
	{0x2e80, 0x303e},
	{0x3041, 0x33ff},
	{0x3400, 0x4dbf},
	{0x4e00, 0x9fff},
	{0xa000, 0xa4cf},
	{0xa960, 0xa97f},
	{0xac00, 0xd7a3},
	{0xf900, 0xfaff},
	{0xfe30, 0xfe6f},
	{0xff00, 0xff60},
	{0xffe0, 0xffe6},
	{0x16fe0, 0x18aff},
	{0x1b000, 0x1b2ff},
	{0x1f004, 0x1f004},
	{0x1f0cf, 0x1f0cf},
	{0x1f18e, 0x1f19a},
	{0x1f200, 0x1f320},
	{0x1f32d, 0x1f64f},
	{0x1f680, 0x1f6ff},
	{0x1f7e0, 0x1f7eb},
	{0x1f900, 0x1f9ff},
	{0x1fa70, 0x1faff},
	{0x20000, 0x3fffd},
}

func runeWidth(r rune) int {
	if r < wide[0][0] {
		return 1
	}
	for _, w := range wide {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

// width is the number of columns that s takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// cutEnd keeps the beginning of s within columns, cutStart the end of it; both mark the cut.
func cutEnd(s string, columns int) string {
	if columns <= 0 || width(s) <= columns {
		return s
	}
	n := 1
	for i, r := range s {
		if n += runeWidth(r); n > columns {
			return s[:i] + "…"
		}
	}
	return s
}

func cutMiddle(s string, columns int) string {
	total := width(s)
	if columns <= 0 || total <= columns {
		return s
	}
	head := cutEnd(s, (columns+1)/2)
	skip := total - (columns - width(head))
	n := 0
	for i, r := range s {
		if n >= skip {
			return head + s[i:]
		}
		n += runeWidth(r)
	}
	return head
}

// cutSentence is cutEnd, but for the first path in s, when that alone is too long: it is cut in its middle. Of files that differ in
// their last part all would look the same.
func cutSentence(s string, columns int) string {
	before, after, found := strings.Cut(s, " /")
	file, _, more := strings.Cut("/"+after, " ")
	room := columns - width(before) - 1
	if !found || room <= 1 || width(file) <= room {
		return cutEnd(s, columns)
	}
	if more {
		return before + " " + cutMiddle(file, room-1) + "…"
	}
	return before + " " + cutMiddle(file, room)
}

func pad(s string, columns int) string {
	if n := columns - width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}
