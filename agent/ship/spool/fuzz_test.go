// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzSegment opens a folder with a segment that somebody else wrote, or that lost parts: it must open, hand out nothing that
// does not hold its checksum, count what it passes over, and be empty after all was acknowledged.
func FuzzSegment(f *testing.F) {
	whole := appendPrefix(nil, []byte("owner"))
	for n := range uint64(3) {
		whole = appendFrame(whole, head{records: 2, number: n + 7, acknowledged: 7}, payload(n+7))
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(whole[:prefixBytes+2])
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, segmentName(3)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Dir: dir, Limit: MinLimit, Owner: []byte("next")})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Found().Foreign) > 0 {
			closed(t, s)
			return
		}
		total := 0
		for _, run := range s.Left() {
			want := run.Records()
			for after := run.Acknowledged(); ; {
				n, p, err := run.Read(after)
				if errors.Is(err, ErrNone) {
					break
				}
				if err != nil {
					t.Fatalf("what Open found cannot be read: %v", err)
				}
				if n <= after || !bytes.Contains(b, p) {
					t.Fatalf("frame %d follows %d", n, after)
				}
				after = n
				total += len(p) + headBytes
			}
			lost, err := run.Discard()
			if err != nil || lost != want {
				t.Errorf("%d records were discarded of %d (%v)", lost, want, err)
			}
		}
		if total > len(b) {
			t.Errorf("%d bytes came out of %d", total, len(b))
		}
		closed(t, s)
		if left := segments(t, dir); len(left) != 0 || s.Bytes() != 0 {
			t.Errorf("%v stay, %d bytes", left, s.Bytes())
		}
	})
}
