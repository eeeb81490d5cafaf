// SPDX-License-Identifier: Apache-2.0

// Package when reads moments the way people write them on a command line. It knows no clock: the caller says
// what time it is and in which zone.
package when

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Forms lists what Parse reads, for help and error texts.
const Forms = "a time ago (10m, 2h, 3d), a time of day (15:04), a date (2006-01-02), yesterday 15:04, or RFC 3339"

// Parse returns the moment that s means at now, in the zone of now.
//
//	10m, 1h30m, 3d, 2w           so long ago
//	now, today, yesterday        today and yesterday begin at midnight
//	15:04, 15:04:05              the last time the clock showed that
//	yesterday 15:04, today 15:04
//	2006-01-02, 2006-01-02 15:04, 2006-01-02T15:04:05, RFC 3339
func Parse(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if s == "now" {
		return now, nil
	}
	if d, err := Duration(s); err == nil {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, form := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(form, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if t, ok := relativeDay(s, now); ok {
		return t, nil
	}
	if h, m, sec, ok := clock(s); ok {
		t := at(now, 0, h, m, sec)
		if t.After(now) {
			t = at(now, -1, h, m, sec)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time; write %s", s, Forms)
}

func relativeDay(s string, now time.Time) (time.Time, bool) {
	day, rest, timed := strings.Cut(s, " ")
	days := 0
	switch day {
	case "today":
	case "yesterday":
		days = -1
	default:
		return time.Time{}, false
	}
	if !timed {
		return at(now, days, 0, 0, 0), true
	}
	h, m, sec, ok := clock(strings.TrimSpace(rest))
	return at(now, days, h, m, sec), ok
}

func at(now time.Time, days, h, m, s int) time.Time {
	return time.Date(now.Year(), now.Month(), now.Day()+days, h, m, s, 0, now.Location())
}

func clock(s string) (h, m, sec int, ok bool) {
	for _, form := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.Hour(), t.Minute(), t.Second(), true
		}
	}
	return 0, 0, 0, false
}

// longest keeps sums far from the 292 years that a time.Duration can hold.
const longest = 100 * 366 * 24 * time.Hour

// Duration reads what time.ParseDuration reads, and weeks (w) and days (d) in front of it.
func Duration(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) { return 0, fmt.Errorf("%q is not a duration; write 10m, 2h or 3d", s) }
	var sum time.Duration
	rest := s
	for _, unit := range []struct {
		letter string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 0 || time.Duration(n) > longest/unit.length {
			return bad()
		}
		sum += time.Duration(n) * unit.length
		rest = after
	}
	if rest == "" && rest != s {
		return sum, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > longest {
		return bad()
	}
	return sum + d, nil
}
