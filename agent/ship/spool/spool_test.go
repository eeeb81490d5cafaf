// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func open(t *testing.T, dir, owner string) *Spool {
	t.Helper()
	s, err := Open(Options{Dir: dir, Limit: MinLimit, Owner: []byte(owner)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// crash leaves everything as it is, as the end of the process would.
func crash(s *Spool) {
	_ = s.lock.Close() // it only holds the lock
	_ = s.root.Close()
}

func payload(n uint64) []byte { return []byte(fmt.Sprintf("payload of %d ", n)) }

// add appends frames with as many records as their numbers.
func add(t *testing.T, s *Spool, numbers ...uint64) {
	t.Helper()
	for _, n := range numbers {
		if err := s.Append(n, int(n), payload(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// numbers reads all that a run has, and checks it.
func numbers(t *testing.T, r *Run) []uint64 {
	t.Helper()
	var all []uint64
	for after := uint64(0); ; {
		n, b, err := r.Read(after)
		if errors.Is(err, ErrNone) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, payload(n)) {
			t.Errorf("%d reads %q", n, b)
		}
		all = append(all, n)
		after = n
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func acknowledge(t *testing.T, r *Run, n uint64) {
	t.Helper()
	if err := r.Acknowledge(n); err != nil {
		t.Fatal(err)
	}
}

func TestEachRunFindsWhatThoseBeforeLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	a := open(t, dir, "a")
	add(t, a, 1, 2, 3)
	acknowledge(t, a.Own(), 1)
	add(t, a, 4) // says that 1 was acknowledged
	if got := numbers(t, a.Own()); !slices.Equal(got, []uint64{2, 3, 4}) || a.Own().Records() != 9 {
		t.Errorf("%v with %d records are there, want 2, 3 and 4 with 9", got, a.Own().Records())
	}
	crash(a)
	b := open(t, dir, "b")
	add(t, b, 1)
	crash(b)
	c := open(t, dir, "c")
	defer closed(t, c)
	left := c.Left()
	if len(left) != 2 || string(left[0].Owner) != "a" || string(left[1].Owner) != "b" {
		t.Fatalf("%d runs left something, want a and b", len(left))
	}
	if got := numbers(t, left[0]); !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Errorf("a left %v, want 2, 3, 4", got)
	}
	if got := numbers(t, left[1]); !slices.Equal(got, []uint64{1}) {
		t.Errorf("b left %v, want 1", got)
	}
	if f := c.Found(); f.Runs != 2 || f.Records != 10 || f.Places != 0 {
		t.Errorf("found %+v, want two runs with 10 records, nothing lost", f)
	}
	acknowledge(t, left[0], 4)
	acknowledge(t, left[1], 1)
	if got := segments(t, dir); len(got) != 0 {
		t.Errorf("%v stay, though everything is acknowledged", got)
	}
	if c.Bytes() != 0 {
		t.Errorf("an empty spool takes %d bytes", c.Bytes())
	}
}

func TestASegmentGoesWhenAllOfItIsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	big := make([]byte, 100<<10)
	n := uint64(0)
	for len(segments(t, dir)) < 3 {
		n++
		if err := s.Append(n, 1, big); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		acknowledge(t, s.Own(), i+1)
		if _, _, err := s.Own().Read(i + 1); i+1 < n && err != nil {
			t.Fatalf("after %d of %d: %v", i+1, n, err)
		}
	}
	closed(t, s)
	if got := segments(t, dir); len(got) != 0 {
		t.Errorf("%v stay, though everything is acknowledged", got)
	}
}

func TestAnOpenSegmentThatWasAcknowledgedMakesRoom(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	defer closed(t, s)
	for n := range uint64(1000) {
		if err := s.Append(n+1, 1, make([]byte, 64<<10)); err != nil {
			t.Fatalf("%d: %v", n+1, err)
		}
		acknowledge(t, s.Own(), n+1)
	}
	if s.Bytes() > 512<<10 {
		t.Errorf("%d bytes, though nothing is waited for", s.Bytes())
	}
}

func TestTheLimitHolds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	defer closed(t, s)
	n := uint64(0)
	crowded := false
	for {
		err := s.Append(n+1, 1, make([]byte, 50_001))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		crowded = crowded || s.Crowded()
	}
	if !crowded {
		t.Error("it is full, and was never crowded")
	}
	var sum int64
	for _, name := range segments(t, dir) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += rounded(info.Size())
	}
	if sum != s.Bytes() || sum > MinLimit || sum < MinLimit*9/10 {
		t.Errorf("files take %d bytes, it says %d, the limit is %d", sum, s.Bytes(), MinLimit)
	}
	acknowledge(t, s.Own(), n/2)
	if err := s.Append(n+1, 1, make([]byte, 50_001)); err != nil || s.Crowded() {
		t.Errorf("no room though half is acknowledged: %v", err)
	}
}

func TestNumbersThatNeverCameMayBeMissing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	add(t, s, 1, 2, 5, 6, 9)
	crash(s)
	s = open(t, dir, "b")
	defer closed(t, s)
	if got := numbers(t, s.Left()[0]); !slices.Equal(got, []uint64{1, 2, 5, 6, 9}) {
		t.Errorf("%v are there", got)
	}
}

// TestATornTail cuts a segment at every length: whole frames are read, and the rest is counted.
func TestATornTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	ends := []int64{int64(prefixBytes + 1)}
	for n := range uint64(3) {
		add(t, s, n+1)
		ends = append(ends, s.own.segments[0].size)
	}
	crash(s)
	name := segments(t, dir)[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := range int64(len(whole)) + 1 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, "b")
		frames := 0
		for frames+1 < len(ends) && ends[frames+1] <= size {
			frames++
		}
		got := 0
		if len(s.Left()) > 0 {
			got = len(numbers(t, s.Left()[0]))
		}
		torn := slices.Index(ends, size) < 0 && size > ends[0]
		if got != frames || (s.Found().LostRecords > 0) != torn {
			t.Errorf("%d of %d bytes: %d frames, want %d; %+v", size, len(whole), got, frames, s.Found())
		}
		if h := ends[frames] + headBytes; torn && size >= h && s.Found().LostRecords != frames+1 {
			t.Errorf("%d of %d bytes: %d records are counted as lost, want %d, as the head says", size, len(whole), s.Found().LostRecords, frames+1)
		}
		closed(t, s)
	}
}

func TestDamageIsPassedOverAndCounted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	add(t, s, 1, 2, 3)
	crash(s)
	name := segments(t, dir)[0]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, payload(2))] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, "b")
	defer closed(t, s)
	if got := numbers(t, s.Left()[0]); !slices.Equal(got, []uint64{1, 3}) || s.Found().LostRecords != 2 {
		t.Errorf("%v are there, %+v", got, s.Found())
	}
	// And what is damaged later.
	b[bytes.Index(b, payload(1))] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Left()[0].Read(0)
	damaged, ok := errors.AsType[*DamagedError](err)
	if !ok || damaged.Number != 1 || damaged.Records != 1 {
		t.Fatalf("a damaged frame reads as %v", err)
	}
	if _, err := s.Left()[0].Drop(1); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, s.Left()[0]); !slices.Equal(got, []uint64{3}) {
		t.Errorf("%v are there after the drop, want 3", got)
	}
}

func TestAFolderBelongsToOne(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "a")
	_, err := Open(Options{Dir: dir, Limit: MinLimit})
	if held, ok := errors.AsType[*HeldError](err); !ok || held.Dir != dir {
		t.Errorf("a second one: %v", err)
	}
	closed(t, s)
	closed(t, open(t, dir, "a"))
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"notes.txt", "0000000000000007.segment", "7.segment"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("spoorsp9 is of the future"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, "a")
	add(t, s, 1)
	closed(t, s)
	if f := s.Found(); !slices.Equal(f.Foreign, []string{"0000000000000007.segment"}) || f.Places != 0 {
		t.Errorf("found %+v", f)
	}
	if got := segments(t, dir); len(got) != 3 {
		t.Errorf("%v are there, want all three", got)
	}
}

func TestAFolderThatOthersWriteToIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Options{Dir: dir, Limit: MinLimit}); err == nil {
		closed(t, s)
		t.Error("anybody may write there, and it is taken")
	}
}
