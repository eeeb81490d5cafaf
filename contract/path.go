// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// PathPattern is an absolute path or a glob over absolute paths. Without wildcards it covers the path and
// everything below it. Otherwise * and ? stay within one directory, [abc] is one of the characters, ** as
// a whole part stands for any number of directories, and \ takes the meaning from the next character.
//
// Braces and negated classes are refused: the first make matching exponential, the second match a slash.
// What is left is matched in time proportional to the product of the two lengths at worst.
type PathPattern string

const (
	maxPattern   = 512
	maxWildcards = 16
)

// UnmarshalText reads a pattern.
func (p *PathPattern) UnmarshalText(text []byte) error {
	s := string(text)
	if f := checkPath(s); f != nil {
		return f
	}
	*p = PathPattern(s)
	return nil
}

func checkPath(s string) *fault {
	switch {
	case s == "":
		return faultf("write an absolute path, for example /tmp/**", "the path is empty")
	case s[0] != '/':
		fix := "write an absolute path, for example /tmp/**"
		if !strings.ContainsAny(s[:1], ".~$*") {
			fix = "write /" + s
		}
		return faultf(fix, "the path %q is not absolute", s)
	case len(s) > maxPattern:
		return faultf("shorten it to 512 bytes with * or **", "the path %q is too long", clip(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return faultf("write ? for each control character", "the path %q holds a control character", s)
	case s != "/" && strings.HasSuffix(s, "/"):
		return faultf("write "+strings.TrimRight(s, "/")+", which covers everything below it", "the path %q ends with a slash", s)
	}
	wildcards := 0
	deep := false
	for part := range strings.SplitSeq(s[1:], "/") {
		switch {
		case s == "/":
		case part == "":
			return faultf("write one slash", "the path %q has two slashes side by side", s)
		case part == "." || part == "..":
			return faultf("write the path that is meant", "the path %q is not direct: it holds %q", s, part)
		case part == "**" && deep:
			return faultf("write ** once", "the path %q has ** twice in a row", s)
		case part != "**" && strings.Contains(part, "**") && !strings.Contains(part, `\`):
			return faultf("write * within a part, or ** as a part of its own", "** in %q is not a part of its own", s)
		}
		deep = part == "**"
		f, n := checkPart(s, part)
		if f != nil {
			return f
		}
		wildcards += n
	}
	if wildcards > maxWildcards {
		return faultf("write a shorter pattern, or several", "the path %q has more than 16 wildcards", s)
	}
	if !doublestar.ValidatePattern(s) {
		return faultf(`write \[ for a bracket that is meant literally`, "%q is not a glob", s)
	}
	return nil
}

// checkPart looks for what doublestar would accept and Spoor does not, and counts wildcards.
func checkPart(whole, part string) (*fault, int) {
	wildcards := 0
	for i := 0; i < len(part); i++ {
		switch part[i] {
		case '\\':
			i++
			if i == len(part) {
				return faultf(`write \\ for a backslash that is meant literally`, `in %q a part ends with \`, whole), 0
			}
		case '{', '}':
			return faultf(`write one line for each alternative, or \{ for a brace that is meant literally`, "%q uses braces", whole), 0
		case '*', '?':
			wildcards++
		case '[':
			wildcards++
			class, size := parseClass(part[i:])
			if size == 0 {
				return faultf(`close it with ], or write \[ for a bracket that is meant literally`, "%q has a [ that nothing closes, or an empty or negated class", whole), 0
			}
			for _, r := range class {
				if r.lo > r.hi {
					return faultf(fmt.Sprintf("write %c-%c", r.hi, r.lo), "a range in %q ends before it begins", whole), 0
				}
				if r.lo <= '/' && '/' <= r.hi {
					return faultf("leave the slash out of the range", "a class in %q covers the slash", whole), 0
				}
			}
			i += size - 1
		}
	}
	return nil, wildcards
}

// pathMatcher is a pattern made ready. The two forms that nearly all patterns have need no glob matching.
type pathMatcher struct {
	pattern PathPattern
	// The pattern covers below and everything under it.
	tree  bool
	below string
}

func compilePath(p PathPattern) pathMatcher {
	s := string(p)
	if s == "/" || s == "/**" {
		return pathMatcher{pattern: p, tree: true}
	}
	head := strings.TrimSuffix(s, "/**")
	if !strings.ContainsAny(head, `*?[\`) {
		return pathMatcher{pattern: p, tree: true, below: head}
	}
	if literal, ok := unescape(s); ok {
		return pathMatcher{pattern: p, tree: true, below: literal}
	}
	return pathMatcher{pattern: p}
}

// Covers says whether the pattern, which must be valid, covers an absolute path, given as the exact bytes.
func (p PathPattern) Covers(path string) bool {
	m := compilePath(p)
	return m.matches(path)
}

// matches says whether the pattern covers an absolute path, given as the exact bytes.
func (m *pathMatcher) matches(path string) bool {
	if m.tree {
		return strings.HasPrefix(path, m.below) && (len(path) == len(m.below) || path[len(m.below)] == '/')
	}
	return doublestar.MatchUnvalidated(string(m.pattern), path)
}

// openEnded says whether the pattern covers paths of any depth, so that it may cover one whose beginning is unknown.
func (m *pathMatcher) openEnded() bool {
	return m.tree || strings.Contains(string(m.pattern), "**")
}

// unescape returns the path that a pattern without wildcards means.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*', '?', '[':
			return "", false
		case '\\':
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), true
}

// escapePath returns the pattern that means exactly these characters.
func escapePath(s string) string {
	if !strings.ContainsAny(s, `*?[]{}\`) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`*?[]{}\`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
