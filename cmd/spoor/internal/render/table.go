// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io"
	"slices"
	"strings"
)

// column describes one column of a table.
type column struct {
	title string
	right bool
	// What may be cut when the terminal is too narrow, and how far down. 0: never cut.
	min int
	// How it is cut: cutEnd by default, cutMiddle for names whose end matters as much as their beginning, cutSentence.
	cut func(s string, columns int) string
	// The first to go when even cutting does not help; 0: always shown. The highest goes first.
	drop int
	// Fixed width for tables that are written line by line; 0: as wide as the widest cell.
	fixed int
}

// cell is one text, already printable, and its colour.
type cell struct {
	text string
	hue  hue
}

type table struct {
	columns []column
	rows    [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func text(s string) cell { return cell{text: s} }

const (
	gutter       = 2
	widestInPipe = 40
)

// layout decides which columns are shown and how wide each is.
type layout struct {
	columns []column
	shown   []int
	widths  []int
}

func (t *table) layout(s Style) layout {
	l := layout{columns: t.columns, widths: make([]int, len(t.columns))}
	for i, c := range t.columns {
		l.shown = append(l.shown, i)
		l.widths[i] = max(width(c.title), c.fixed)
		if c.fixed > 0 {
			continue
		}
		for _, row := range t.rows {
			l.widths[i] = max(l.widths[i], width(row[i].text))
		}
		if s.Width == 0 && c.min > 0 {
			// One endless name must not push every other row to the right.
			l.widths[i] = min(l.widths[i], max(widestInPipe, width(c.title)))
		}
	}
	if s.Width > 0 {
		l.fit(s.Width)
	}
	return l
}

func (l *layout) total() int {
	n := gutter * (len(l.shown) - 1)
	for _, i := range l.shown {
		n += l.widths[i]
	}
	return n
}

// smallest is the width with every column cut as far as it may be.
func (l *layout) smallest() int {
	n := gutter * (len(l.shown) - 1)
	for _, i := range l.shown {
		n += l.widths[i]
		if m := l.columns[i].min; m > 0 {
			n -= max(0, l.widths[i]-m)
		}
	}
	return n
}

func (l *layout) fit(columns int) {
	for l.smallest() > columns {
		last := -1
		for at, i := range l.shown {
			if l.columns[i].drop > 0 && (last < 0 || l.columns[i].drop > l.columns[l.shown[last]].drop) {
				last = at
			}
		}
		if last < 0 {
			break
		}
		l.shown = slices.Delete(l.shown, last, last+1)
	}
	// Take from the widest that may be cut, one column at a time, so that all suffer alike.
	for l.total() > columns {
		widest := -1
		for _, i := range l.shown {
			if m := l.columns[i].min; m > 0 && l.widths[i] > m && (widest < 0 || l.widths[i] > l.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		l.widths[widest]--
	}
}

func (l *layout) header(b *strings.Builder, s Style) {
	cells := make([]cell, len(l.columns))
	for i, c := range l.columns {
		cells[i] = cell{c.title, faint}
	}
	l.row(b, s, cells)
}

func (l *layout) row(b *strings.Builder, s Style, cells []cell) {
	var line strings.Builder
	for at, i := range l.shown {
		c, txt := l.columns[i], cells[i].text
		// A pipe gets whole cells also where the column has a fixed width.
		if s.Width > 0 && c.min > 0 {
			if c.cut != nil {
				txt = c.cut(txt, l.widths[i])
			} else {
				txt = cutEnd(txt, l.widths[i])
			}
		}
		space := strings.Repeat(" ", max(0, l.widths[i]-width(txt)))
		last := at == len(l.shown)-1
		if c.right {
			line.WriteString(space)
		}
		line.WriteString(s.paint(cells[i].hue, txt))
		if !c.right && !last {
			line.WriteString(space)
		}
		if !last {
			line.WriteString(strings.Repeat(" ", gutter))
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

func (t *table) text(s Style) string {
	var b strings.Builder
	l := t.layout(s)
	l.header(&b, s)
	for _, row := range t.rows {
		l.row(&b, s, row)
	}
	return b.String()
}

func (t *table) write(w io.Writer, s Style) error {
	_, err := io.WriteString(w, t.text(s))
	return err
}

// remove takes a column out, for tables in which it would say the same in every row.
func (t *table) remove(at int) {
	t.columns = slices.Delete(t.columns, at, at+1)
	for i, row := range t.rows {
		t.rows[i] = slices.Delete(row, at, at+1)
	}
}
