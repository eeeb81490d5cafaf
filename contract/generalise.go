// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxGeneral bounds a generalised path, so that a program cannot fill findings with one endless name.
const maxGeneral = 256

// Generalise turns a path into a pattern that covers it and the others of its family: numbers, dates, hashes,
// UUIDs and random suffixes become *, so that /var/cache/app/1234.tmp and 1235.tmp are one matter,
// /var/cache/app/*.tmp. What cannot be printed becomes ?. The result is a valid PathPattern of bounded length that
// covers the path, whatever bytes the path holds. Without a leading slash the path's beginning is taken as unknown.
func Generalise(path string) PathPattern {
	rest, absolute := strings.CutPrefix(path, "/")
	var b strings.Builder
	if !absolute {
		b.WriteString("/**")
	}
	wildcards := 4 // the two stars of a beginning that is unknown, and of an end that is cut off
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." {
			// The kernel does not write such paths; somebody else may.
			if strings.Trim(rest, "/") == "" {
				break
			}
			return cutGeneral(b.String())
		}
		general, n := generalisePart(part)
		if wildcards += n; b.Len()+1+len(general) > maxGeneral-len("/**") || wildcards > maxWildcards {
			return cutGeneral(b.String())
		}
		b.WriteByte('/')
		b.WriteString(general)
	}
	if b.Len() == 0 {
		return "/"
	}
	return PathPattern(b.String())
}

func cutGeneral(s string) PathPattern {
	if strings.HasSuffix(s, "/**") {
		return PathPattern(s)
	}
	return PathPattern(s + "/**")
}

// generalisePart generalises one part of a path and counts its wildcards, rather too many than too few.
func generalisePart(part string) (string, int) {
	if len(part) > 200 {
		return "*", 1
	}
	var b strings.Builder
	stem, extension := splitExtension(part)
	starred := false // b ends with a wildcard *
	for rest := stem; rest != ""; {
		word := nextWord(rest)
		keep := len(word)
		if word != "" {
			keep = fixedPart(word, stem)
		}
		switch {
		case word == "":
			// A separator, or a character that is no part of a word.
			r, size := utf8.DecodeRuneInString(rest)
			if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
				b.WriteByte('?')
			} else {
				b.WriteString(escapePath(rest[:size]))
			}
			rest, starred = rest[size:], false
		case keep < len(word):
			b.WriteString(word[:keep])
			if !starred || keep > 0 {
				b.WriteByte('*')
			}
			rest, starred = skipSeries(rest[len(word):]), true
		default:
			b.WriteString(word)
			rest, starred = rest[len(word):], false
		}
	}
	if extension != "" {
		b.WriteString("." + extension)
	}
	general := b.String()
	return general, strings.Count(general, "*") + strings.Count(general, "?") + strings.Count(general, "[")
}

// splitExtension parts name.ext, when the extension is short, plain and no number.
func splitExtension(part string) (stem, extension string) {
	i := strings.LastIndexByte(part, '.')
	if i <= 0 || len(part)-i-1 > 8 {
		return part, ""
	}
	if ext := part[i+1:]; ext != "" && nextWord(ext) == ext && !digits(ext) && fixedPart(ext, part) == len(ext) {
		return part[:i], ext
	}
	return part, ""
}

// skipSeries drops what continues a number or a hash: 2024-05-01T10 is one date, and a UUID is one word.
func skipSeries(rest string) string {
	for len(rest) > 1 && strings.IndexByte("-_:.", rest[0]) >= 0 {
		word := nextWord(rest[1:])
		if !digits(word) && (len(word) < 4 || !hexadecimal(word)) {
			break
		}
		rest = rest[1+len(word):]
	}
	return rest
}

// nextWord is the run of ASCII letters and digits at the beginning of s.
func nextWord(s string) string {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z') {
		i++
	}
	return s[:i]
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func hexadecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// fixedPart returns how much of the beginning of a word is the same for each file of a family: all of it for a
// name, nothing for a number, hash or random word. The rules prefer to leave a word as it is: two names too many are
// read faster than one pattern too wide.
func fixedPart(word, stem string) int {
	n := len(word)
	number := 0
	for i := range n {
		if word[i] <= '9' {
			number++
		}
	}
	temporary := strings.HasPrefix(strings.TrimPrefix(stem, "."), "tmp")
	switch {
	case digits(word):
		// A long number, or one that is the whole name: 7.tmp, but not python3.12.
		if n >= 4 || word == stem {
			return 0
		}
	case n >= 8 && hexadecimal(word) && number > 0, number >= 8 && strings.Trim(word, "0123456789TZ") == "":
		return 0
	case n >= 20 && number >= 2 && switches(word) >= 4:
		return 0
	case n >= 6 && n <= 16 && switches(word) >= 3 && number > 0 && strings.ToLower(word) != word && strings.ToUpper(word) != word:
		// mktemp's XXXXXX: small letters, capitals and digits mixed up.
		return 0
	case temporary && n >= 6 && n < len(stem) && !strings.HasPrefix(word, "tmp") && switches(word) > 0:
		// tmp.XXXXXX
		return 0
	case temporary && n >= 8 && strings.HasPrefix(word, "tmp") && switches(word) >= 2:
		// Python's tempfile: tmp and eight of a-z0-9_.
		return len("tmp")
	default:
		if kept := len(strings.TrimRight(word, "0123456789")); n-kept >= 4 {
			return kept
		}
	}
	return n
}

// switches counts how often a word changes between digits, small and large letters.
func switches(word string) int {
	kind := func(c byte) int {
		switch {
		case c <= '9':
			return 0
		case c <= 'Z':
			return 1
		default:
			return 2
		}
	}
	n := 0
	for i := 1; i < len(word); i++ {
		if kind(word[i]) != kind(word[i-1]) {
			n++
		}
	}
	return n
}
