// SPDX-License-Identifier: Apache-2.0

package when_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/cmd/spoor/internal/when"
)

func TestParse(t *testing.T) {
	zone := time.FixedZone("here", 2*60*60)
	now := time.Date(2026, 3, 1, 14, 30, 15, 0, zone)
	for in, want := range map[string]string{
		"now":                  "2026-03-01T14:30:15+02:00",
		"10m":                  "2026-03-01T14:20:15+02:00",
		"1h30m":                "2026-03-01T13:00:15+02:00",
		"3d":                   "2026-02-26T14:30:15+02:00",
		"1d12h":                "2026-02-28T02:30:15+02:00",
		"2w1d":                 "2026-02-14T14:30:15+02:00",
		"14:00":                "2026-03-01T14:00:00+02:00",
		"14:30:15":             "2026-03-01T14:30:15+02:00",
		"23:59":                "2026-02-28T23:59:00+02:00",
		"today":                "2026-03-01T00:00:00+02:00",
		"yesterday":            "2026-02-28T00:00:00+02:00",
		"yesterday 08:15":      "2026-02-28T08:15:00+02:00",
		"today 20:00":          "2026-03-01T20:00:00+02:00",
		"2026-02-03":           "2026-02-03T00:00:00+02:00",
		"2026-02-03 04:05":     "2026-02-03T04:05:00+02:00",
		"2026-02-03T04:05:06":  "2026-02-03T04:05:06+02:00",
		"2026-02-03T04:05:06Z": "2026-02-03T06:05:06+02:00",
		" 5s ":                 "2026-03-01T14:30:10+02:00",
	} {
		got, err := when.Parse(in, now)
		if err != nil {
			t.Errorf("Parse(%q): %v", in, err)
			continue
		}
		if g := got.In(zone).Format(time.RFC3339); g != want {
			t.Errorf("Parse(%q) = %s, want %s", in, g, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	now := time.Date(2026, 3, 1, 14, 30, 15, 0, time.UTC)
	for _, in := range []string{"", "-5m", "10", "10x", "25:00", "tomorrow", "yesterday noon", "2026-13-01", "d", "w", "1d2w", "99999999999d", "65535w", "2562047h"} {
		if got, err := when.Parse(in, now); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", in, got)
		} else if !strings.Contains(err.Error(), when.Forms) {
			t.Errorf("Parse(%q): %q does not say what to write", in, err)
		}
	}
}

// On the day when clocks go forward, yesterday has 24 hours all the same and midnight is midnight.
func TestParseAcrossClockChange(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 29, 12, 0, 0, 0, zone)
	got, err := when.Parse("yesterday", now)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 28, 0, 0, 0, 0, zone); !got.Equal(want) {
		t.Errorf("yesterday = %s, want %s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"10m", "3d4h", "15:04", "yesterday 15:04", "2026-02-03T04:05:06Z"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 14, 30, 15, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := when.Duration(s); err == nil && d < 0 {
			t.Errorf("Duration(%q) = %s", s, d)
		}
		_, _ = when.Parse(s, now)
	})
}
