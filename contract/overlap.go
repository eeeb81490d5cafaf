// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"unicode/utf8"
)

// Whether two patterns cover a path in common is decided exactly: each becomes a small automaton over
// characters, and the product of the two is searched for a pair of accepting states.

type runeRange struct{ lo, hi rune }

// An automaton is its states; the last one accepts. Besides the edges that read a character, a state may be
// left for another without reading.
type automaton []node

type node struct {
	edges []edge
	skips []int
}

type edge struct {
	set []runeRange
	to  int
}

var (
	anyRune   = []runeRange{{0, utf8.MaxRune}}
	slash     = []runeRange{{'/', '/'}}
	notASlash = []runeRange{{0, '/' - 1}, {'/' + 1, utf8.MaxRune}}
)

// automatonOf builds the automaton of a pattern that checkPath accepted.
func automatonOf(p PathPattern) automaton {
	s := string(p)
	a := automaton{{}}
	end := func() int { return len(a) - 1 }
	read := func(set []runeRange) {
		a[end()].edges = append(a[end()].edges, edge{set, len(a)})
		a = append(a, node{})
	}
	_, literal := unescape(s)
	if s == "/" {
		s = "" // everything below the root is everything
	}
	if literal {
		s += "/**"
	}
	for i := 0; i < len(s); {
		switch {
		case s[i:] == "/**":
			// Nothing more, or a slash and anything.
			at := end()
			a = append(a, node{edges: []edge{{anyRune, at + 1}}, skips: []int{at + 2}}, node{})
			a[at].edges = append(a[at].edges, edge{slash, at + 1})
			a[at].skips = append(a[at].skips, at+2)
			i = len(s)
		case strings.HasPrefix(s[i:], "**/") && s[i-1] == '/':
			// Any number of directories, each with its slash.
			at := end()
			a = append(a, node{}, node{})
			a[at].skips = append(a[at].skips, at+2)
			a[at].edges = append(a[at].edges, edge{notASlash, at + 1}, edge{slash, at})
			a[at+1].edges = append(a[at+1].edges, edge{notASlash, at + 1}, edge{slash, at})
			i += 3
		case s[i] == '*':
			at := end()
			a = append(a, node{})
			a[at].edges = append(a[at].edges, edge{notASlash, at})
			a[at].skips = append(a[at].skips, at+1)
			i++
		case s[i] == '?':
			read(notASlash)
			i++
		case s[i] == '[':
			class, size := parseClass(s[i:])
			read(class)
			i += size
		default:
			if s[i] == '\\' {
				i++
			}
			r, size := utf8.DecodeRuneInString(s[i:])
			read([]runeRange{{r, r}})
			i += size
		}
	}
	return a
}

// parseClass reads a class such as [a-z_] at the beginning of s. The size is 0 when there is none.
func parseClass(s string) (class []runeRange, size int) {
	i := 1
	if len(s) < 2 || s[1] == '!' || s[1] == '^' || s[1] == ']' {
		return nil, 0
	}
	next := func() (rune, bool) {
		if i < len(s) && s[i] == '\\' {
			i++
		}
		if i >= len(s) {
			return 0, false
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		return r, true
	}
	ranged := false // the last entry ended a range, so that a dash after it is itself
	for i < len(s) && s[i] != ']' {
		dash := s[i] == '-' && len(class) > 0 && !ranged && i+1 < len(s) && s[i+1] != ']'
		if dash {
			i++
		}
		r, ok := next()
		if !ok {
			return nil, 0
		}
		if dash {
			class[len(class)-1].hi = r
		} else {
			class = append(class, runeRange{r, r})
		}
		ranged = dash
	}
	if i >= len(s) {
		return nil, 0
	}
	return class, i + 1
}

// Overlaps says whether some path is covered by both patterns, which must be valid.
func (p PathPattern) Overlaps(q PathPattern) bool {
	// Most pairs differ before the first wildcard.
	head, other := literalHead(p), literalHead(q)
	if n := min(len(head), len(other)); head[:n] != other[:n] {
		return false
	}
	a, b := automatonOf(p), automatonOf(q)
	type pair struct{ i, j int }
	seen := map[pair]bool{{0, 0}: true}
	todo := []pair{{0, 0}}
	add := func(n pair) {
		if !seen[n] {
			seen[n] = true
			todo = append(todo, n)
		}
	}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at.i == len(a)-1 && at.j == len(b)-1 {
			return true
		}
		for _, to := range a[at.i].skips {
			add(pair{to, at.j})
		}
		for _, to := range b[at.j].skips {
			add(pair{at.i, to})
		}
		for _, e := range a[at.i].edges {
			for _, f := range b[at.j].edges {
				if intersect(e.set, f.set) {
					add(pair{e.to, f.to})
				}
			}
		}
	}
	return false
}

// literalHead is the part of a pattern before its first special character.
func literalHead(p PathPattern) string {
	if i := strings.IndexAny(string(p), `*?[\`); i >= 0 {
		// "/a/**" covers "/a" too.
		return strings.TrimSuffix(string(p[:i]), "/")
	}
	return string(p)
}

func intersect(a, b []runeRange) bool {
	for _, x := range a {
		for _, y := range b {
			if max(x.lo, y.lo) <= min(x.hi, y.hi) {
				return true
			}
		}
	}
	return false
}
