// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Printable returns s with everything escaped that a terminal could act upon or that a reader could not see:
// control characters, escape sequences, bidirectional overrides, invisible characters, bytes that are not
// UTF-8. Backslashes are doubled, so that the text says exactly which bytes there were.
func Printable(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			writeRune(&b, r)
		}
		i += size
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

func writeRune(b *strings.Builder, r rune) {
	switch {
	case r == '\\':
		b.WriteString(`\\`)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r == '\r':
		b.WriteString(`\r`)
	case r < ' ' || r == 0x7f:
		fmt.Fprintf(b, `\x%02x`, r)
	case visible(r):
		b.WriteRune(r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// visible is narrower than unicode.IsPrint: it leaves out marks, which pile up on the text beside them, and
// letters that are drawn as nothing.
func visible(r rune) bool {
	switch r {
	case ' ':
		return true
	case 0x115f, 0x1160, 0x3164, 0xffa0, 0x2800: // Hangul fillers, blank Braille pattern
		return false
	}
	return unicode.IsPrint(r) && !unicode.Is(unicode.M, r)
}

// pathOf is what a file is called, exactly: the raw bytes where the text form is not exact.
func pathOf(f *spoorv1.File) string {
	p := f.GetPath()
	if raw := f.GetPathRaw(); len(raw) > 0 {
		p = string(raw)
	}
	p = Printable(p)
	if p == "" {
		p = fmt.Sprintf("(unnamed file, inode %d)", f.GetInode())
	}
	if f.GetPathTruncated() {
		p = "…" + p
	}
	return p
}

// arguments returns the arguments exactly, from the raw bytes where there are some.
func arguments(p *spoorv1.Process) []string {
	raw := p.GetArgsRaw()
	if len(raw) == 0 {
		return p.GetArgs()
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
}

// Command is the program with its arguments in a form that a POSIX shell (with $'...') reads back. It begins
// with the executable, not with argument 0: a process may write anything there.
func Command(p *spoorv1.Process) string {
	args := arguments(p)
	var parts []string
	switch {
	case p.GetExe() != "":
		parts = append(parts, quote(p.GetExe()))
		if len(args) > 0 {
			args = args[1:]
		}
	case len(args) == 0:
		parts = append(parts, quote(p.GetComm()))
	}
	for _, a := range args {
		parts = append(parts, quote(a))
	}
	if p.GetArgsTruncated() {
		parts = append(parts, "…")
	}
	return strings.Join(parts, " ")
}

func quote(s string) string {
	const safe = "%+,-./0123456789:=@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
	if s != "" && strings.Trim(s, safe) == "" {
		return s
	}
	if e := Printable(s); e != s {
		return "$'" + strings.ReplaceAll(e, "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// process is comm[tgid], or a dash when no process did it.
func process(p *spoorv1.Process) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%s[%d]", Printable(p.GetComm()), p.GetTgid())
}

// WorkloadName writes a workload in the shortest form that finds it again on its own node: without the
// cluster where there is none, and without a namespace that is only the node's own name.
func WorkloadName(w *spoorv1.Workload, node string) string {
	if w == nil || w.GetKind() == "" && w.GetName() == "" {
		return "-"
	}
	name := w.GetKind() + "/" + w.GetName()
	if w.GetNamespace() != "" && (w.GetNamespace() != node || w.GetCluster() != "") {
		name = w.GetNamespace() + "/" + name
	}
	if w.GetCluster() != "" {
		name = w.GetCluster() + "/" + name
	}
	return Printable(name)
}
