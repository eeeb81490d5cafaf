// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRowBinary(t *testing.T) {
	var e encoder
	e.u8(7)
	e.u32(1 << 31)
	e.u64(^uint64(0))
	e.i64(-2)
	e.text(strings.Repeat("x", 300))
	e.bytes(nil)
	e.flag(true)
	e.seconds(time.Unix(1<<40, 0)) // beyond what a DateTime can be
	d := decoder{b: e.b}
	if d.u8() != 7 || d.u32() != 1<<31 || d.u64() != ^uint64(0) || d.i64() != -2 || len(d.text()) != 300 || len(d.bytes()) != 0 || !d.flag() || d.u32() != maxSeconds {
		t.Errorf("what was written is read otherwise from % x", e.b)
	}
	if d.err != nil || d.more() {
		t.Errorf("%v, and %d bytes are left", d.err, len(d.b))
	}
}

// FuzzDecoder: whatever a server sends, reading it ends, and an answer that is cut short is an error.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add([]byte("\x05abc"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{b: b}
		for d.more() {
			before := len(d.b)
			_, _ = d.u64(), d.text()
			if d.err == nil && len(d.b) >= before {
				t.Fatalf("nothing was read of %d bytes", before)
			}
		}
		if claims, err := decodeClaims(b); err == nil && !slices.Equal(encodeClaims(claims), b) && len(claims) == 0 && len(b) > 0 {
			t.Fatalf("% x is no claims, and no error", b)
		}
	})
}

func TestKeys(t *testing.T) {
	for _, parts := range [][]string{{"a", "b", "c"}, {"", "", ""}, {"a\x00b", "\x01", "\x01\x01"}, {"\x00\x01\x02", "x"}} {
		if got := splitKey(joinKey(parts...)); !slices.Equal(got, parts) {
			t.Errorf("%q is read back as %q", parts, got)
		}
	}
	if joinKey("a", "\x00b") == joinKey("a\x00", "b") {
		t.Error("two keys are one")
	}
}

func TestLiterals(t *testing.T) {
	if got, want := quote("a'b\\c\x00"), `'a\'b\\c\0'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := like(`50%_*\`), `'50\\%\\_%\\\\'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestExplanation(t *testing.T) {
	const said = "Code: 62. DB::Exception: Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)\n"
	if got := explanation(said, "400 Bad Request"); got != "Syntax error. (SYNTAX_ERROR)" {
		t.Error(got)
	}
	if got := explanation("", "502 Bad Gateway"); got != "502 Bad Gateway" {
		t.Error(got)
	}
}
