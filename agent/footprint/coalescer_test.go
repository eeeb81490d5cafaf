// SPDX-License-Identifier: Apache-2.0

package footprint

import (
	"iter"
	"maps"
	"strings"
	"testing"
	"time"
)

func newSum(t *testing.T, size int) *Coalescer[string, int] {
	t.Helper()
	c, err := New[string](Options[int]{
		Size: size, Min: time.Second, Max: 4 * time.Second,
		Merge: func(into *int, later int) { *into += later },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func drop(told iter.Seq2[string, int]) { _ = maps.Collect(told) }

func never(string) bool { return false }

func TestNewKeysAreToldAtOnceThenEverMoreSeldom(t *testing.T) {
	c := newSum(t, 10)
	var told []int
	total := 0
	for ms := range 20_000 {
		if ms%100 != 0 {
			continue
		}
		now := start.Add(time.Duration(ms) * time.Millisecond)
		c.Add(now, "a", 1)
		for _, v := range c.Due(now, never) {
			told = append(told, ms)
			total += v
		}
	}
	want := []int{0, 1000, 3000, 7000, 11000, 15000, 19000}
	if len(told) != len(want) {
		t.Fatalf("told at %v ms, want %v", told, want)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Fatalf("told at %v ms, want %v", told, want)
		}
	}
	for _, v := range c.Due(start, nil) {
		total += v
	}
	if total != 200 {
		t.Errorf("%d of 200 were told", total)
	}
}

func TestQuietKeyStartsAfresh(t *testing.T) {
	c := newSum(t, 10)
	for i := range 4 {
		c.Add(start.Add(time.Duration(i)*time.Second), "a", 1)
		drop(c.Due(start.Add(time.Duration(i)*time.Second), never))
	}
	later := start.Add(time.Minute)
	c.Add(later, "a", 7)
	if got := maps.Collect(c.Due(later, never)); got["a"] != 7 {
		t.Errorf("after a minute of silence Due = %v, want a: 7", got)
	}
}

func TestUrgentIsToldBeforeItIsDue(t *testing.T) {
	c := newSum(t, 10)
	c.Add(start, "a", 1)
	drop(c.Due(start, never))
	c.Add(start, "a", 2)
	if got := maps.Collect(c.Due(start, never)); len(got) != 0 {
		t.Fatalf("Due = %v before the pause ended", got)
	}
	if got := maps.Collect(c.Due(start, func(k string) bool { return k == "a" })); got["a"] != 2 {
		t.Errorf("urgent Due = %v, want a: 2", got)
	}
}

func TestEvictedValuesAreTold(t *testing.T) {
	c := newSum(t, 2)
	for _, k := range []string{"a", "b", "c", "d"} {
		c.Add(start, k, 1)
	}
	if got := maps.Collect(c.Due(start, never)); len(got) != 4 || c.Len() != 2 {
		t.Errorf("Due = %v with %d remembered, want all four and 2", got, c.Len())
	}
}

func TestKeysThatWereQuietForLongerThanTheirPauseAreForgotten(t *testing.T) {
	c := newSum(t, 10)
	c.Add(start, "quiet", 1)
	drop(c.Due(start, never))
	c.Add(start.Add(time.Second), "busy", 1)
	drop(c.Due(start.Add(time.Second), never))
	drop(c.Due(start.Add(2*time.Second), never))
	if c.Len() != 2 {
		t.Fatalf("%d keys in their pauses, want 2", c.Len())
	}
	drop(c.Due(start.Add(2*time.Second+1), never))
	if c.Len() != 1 {
		t.Errorf("%d keys, want the one that is not quiet yet", c.Len())
	}
	c.Add(start.Add(3*time.Second), "busy", 1)
	for k, v := range c.Due(start.Add(time.Hour), never) {
		if k != "busy" || v != 1 {
			t.Errorf("%s: %d", k, v)
		}
	}
}

// TestALongerPauseMergesMore: while the spool fills up, more is summed up in one, and nothing of it is left out.
func TestALongerPauseMergesMore(t *testing.T) {
	c := newSum(t, 10)
	total, second := 0, 0
	run := func(until int) (events int) {
		for ; second < until; second++ {
			now := start.Add(time.Duration(second) * time.Second)
			c.Add(now, "a", 1)
			for _, v := range c.Due(now, never) {
				events++
				total += v
			}
		}
		return events
	}
	if told := run(403); told < 100 {
		t.Errorf("told %d times in 400 s, with pauses of 4 s", told)
	}
	c.SetMax(40 * time.Second)
	if told := run(803); told > 14 {
		t.Errorf("told %d times in 400 s, with pauses of 40 s", told)
	}
	c.SetMax(4 * time.Second)
	run(850) // what was being summed up keeps its pause
	if told := run(1250); told < 99 {
		t.Errorf("told %d times in 400 s, with pauses of 4 s again", told)
	}
	for _, v := range c.Due(start, nil) {
		total += v
	}
	if total != 1250 {
		t.Errorf("%d of 1250 were told", total)
	}
}

func TestWhatWaitsHasABoundInBytes(t *testing.T) {
	const most, each = 100, 30
	c, err := New[int](Options[string]{
		Size: 1000, Min: time.Hour, Max: time.Hour, Bytes: most, Weigh: func(v *string) int { return len(*v) },
		Merge: func(into *string, later string) { *into += later },
	})
	if err != nil {
		t.Fatal(err)
	}
	for k := range 10 { // they were told once, so that what follows has to wait
		c.Add(start, k, "")
	}
	_ = maps.Collect(c.Due(start, func(int) bool { return false }))
	told := map[int]int{}
	for k := range 10 {
		c.Add(start, k, strings.Repeat("x", each/2))
		c.Add(start, k, strings.Repeat("y", each/2))
		for k, v := range c.Due(start, func(int) bool { return false }) {
			told[k] = len(v)
		}
		waiting := 0
		for _, e := range c.pending {
			waiting += len(e.value)
		}
		if waiting > most || waiting != c.bytes {
			t.Fatalf("%d bytes wait, and %d are counted, want %d at most", waiting, c.bytes, most)
		}
	}
	if told[0]+told[1]+told[2] > 0 || len(told) != 7 {
		t.Errorf("told early: %v, want what came when there was no room", told)
	}
	for k, v := range c.Due(start, nil) {
		told[k] += len(v)
	}
	if len(told) != 10 || c.bytes != 0 {
		t.Errorf("%d were told, and %d bytes are counted in the end", len(told), c.bytes)
	}
}
