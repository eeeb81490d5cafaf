// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPathPattern(t *testing.T) {
	long := "/" + strings.Repeat("d/", 2040) + "file"
	for _, tc := range []struct {
		pattern PathPattern
		yes, no []string
	}{
		{"/tmp", []string{"/tmp", "/tmp/x", "/tmp/x/y"}, []string{"/tmpx", "/", "/var/tmp", ""}},
		{"/tmp/**", []string{"/tmp", "/tmp/x", "/tmp/x/y", "/tmp/new\nline", "/tmp/\xff\xfe"}, []string{"/tmpx", "/var/tmp"}},
		{"/", []string{"/", "/x", "/x/y", long}, nil},
		{"/**", []string{"/", "/x", long}, nil},
		{"/tmp/*", []string{"/tmp/x", "/tmp/a b", "/tmp/\xff", "/tmp/a\nb", "/tmp/*"}, []string{"/tmp/x/y", "/tmp"}},
		{"/tmp/*.tmp", []string{"/tmp/1.tmp", "/tmp/.tmp"}, []string{"/tmp/a/1.tmp", "/tmp/1.tmpx"}},
		{"/tmp/?", []string{"/tmp/x", "/tmp/ü", "/tmp/\xff", "/tmp/\n"}, []string{"/tmp/xy", "/tmp//", "/tmp/"}},
		{"/var/**/cache/*.db", []string{"/var/cache/a.db", "/var/a/b/cache/a.db"}, []string{"/var/cache/a/b.db", "/varx/cache/a.db"}},
		{"/var/*/cache/**", []string{"/var/a/cache", "/var/a/cache/b/c"}, []string{"/var/cache/b"}},
		{"/a[bc-e_]f", []string{"/abf", "/adf", "/a_f"}, []string{"/aff", "/a/f"}},
		{`/a\*b`, []string{"/a*b", "/a*b/c"}, []string{"/aXb"}},
		{`/a\[b\]/*`, []string{"/a[b]/x"}, []string{"/ab/x"}},
		{`/a\\b`, []string{`/a\b`}, []string{`/a\\b`}},
	} {
		if err := new(PathPattern).UnmarshalText([]byte(tc.pattern)); err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
			continue
		}
		m := compilePath(tc.pattern)
		for _, path := range tc.yes {
			if !m.matches(path) {
				t.Errorf("%s does not cover %.60q", tc.pattern, path)
			}
		}
		for _, path := range tc.no {
			if m.matches(path) {
				t.Errorf("%s covers %q", tc.pattern, path)
			}
		}
	}
}

// worked is how long this process had a processor until now: of a busy machine's time others have most.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// The worst patterns that checkPath lets through, on the worst paths that the kernel has.
func TestMatchingIsBounded(t *testing.T) {
	stars := PathPattern("/**" + strings.Repeat("/*a*a", 7) + "/b")
	for _, p := range []PathPattern{stars, "/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b"} {
		if f := checkPath(string(p)); f != nil {
			t.Fatal(f)
		}
		m := compilePath(p)
		for _, path := range []string{"/" + strings.Repeat("a", 4095), strings.Repeat("/a", 2048), strings.Repeat("/aaaa", 819)} {
			start := worked(t)
			for range 10 {
				m.matches(path)
			}
			if spent := (worked(t) - start) / 10; spent > 50*time.Millisecond {
				t.Errorf("%s on %.20q... took %v", p, path, spent)
			}
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		a, b PathPattern
		want bool
	}{
		{"/tmp", "/tmp/x", true},
		{"/tmp", "/tmpx", false},
		{"/tmp/**", "/var/tmp/**", false},
		{"/tmp/*.a", "/tmp/*.b", false},
		{"/tmp/*.a", "/tmp/a*", true},
		{"/tmp/*", "/tmp/*/x", false},
		{"/tmp/?", "/tmp/??", false},
		{"/tmp/[a-f]", "/tmp/[g-z]", false},
		{"/tmp/[a-g]", "/tmp/[g-z]", true},
		{"/**/cache", "/var/lib/**", true},
		{"/a/**/b", "/a/b", true},
		{"/a/**/b", "/a/c", true}, // /a/c/b
		{"/a/**/b/c", "/a/*", false},
		{"/", "/anything", true},
		{"/a/*", "/a/**", true},
		{`/a\*`, "/a*", true},
		{`/a\*`, "/ab", false},
	} {
		if got := tc.a.Overlaps(tc.b); got != tc.want {
			t.Errorf("%s overlaps with %s: %v", tc.a, tc.b, got)
		}
		if got := tc.b.Overlaps(tc.a); got != tc.want {
			t.Errorf("%s overlaps with %s: %v", tc.b, tc.a, got)
		}
	}
}

// run walks a path through an automaton: a second opinion on what a pattern covers.
func (a automaton) run(path string) bool {
	at := map[int]bool{}
	var enter func(int)
	enter = func(i int) {
		if !at[i] {
			at[i] = true
			for _, to := range a[i].skips {
				enter(to)
			}
		}
	}
	enter(0)
	for len(path) > 0 {
		r, size := utf8.DecodeRuneInString(path)
		path = path[size:]
		before := at
		at = map[int]bool{}
		for i := range before {
			for _, e := range a[i].edges {
				if intersect(e.set, []runeRange{{r, r}}) {
					enter(e.to)
				}
			}
		}
	}
	return at[len(a)-1]
}

// FuzzPathPattern holds the matcher against the automaton that finds overlaps, on any pattern and any path.
func FuzzPathPattern(f *testing.F) {
	f.Add("/var/**/cache/*.db", "/var/a/cache/x.db")
	f.Add("/a[b-d\\]-]?", "/a]x")
	f.Add(`/a\*b`, "/a*b/c")
	f.Add("/**/*a*b/**", "/x/\xffab/\n")
	f.Add("/tmp/[a-]", "/tmp/-")
	f.Add("/**/x/**/y/*", "/x//y/z")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if checkPath(pattern) != nil || !utf8.ValidString(pattern) || len(path) > 4096 {
			return
		}
		if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//") {
			return // not a path of the kernel's
		}
		p := PathPattern(pattern)
		m := compilePath(p)
		if got, want := m.matches(path), automatonOf(p).run(path); got != want {
			t.Fatalf("%q covers %q: matcher %v, automaton %v", pattern, path, got, want)
		}
		if !p.Overlaps(p) {
			t.Fatalf("%q does not overlap with itself", pattern)
		}
		if q := Generalise(path); m.matches(path) && !p.Overlaps(q) {
			t.Fatalf("%q and %q cover %q and do not overlap", p, q, path)
		}
		if len(path) < 200 && !strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
			if q := compilePath(PathPattern(escapePath(path))); !q.matches(path) {
				t.Fatalf("%q does not mean itself", path)
			}
		}
	})
}
