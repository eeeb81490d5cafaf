// SPDX-License-Identifier: Apache-2.0

package render

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Style says for whom text is written. The zero Style is what a pipe gets: no colour, nothing cut.
type Style struct {
	// Columns of the terminal; 0 means that lines may be as long as they are.
	Width int
	Color bool
	// Zone of the times; nil means UTC.
	Zone *time.Location
	// Now decides whether a time needs its date.
	Now time.Time
}

// Colours by purpose, so that meaning and look are decided in one place.
type hue string

const (
	none   hue = ""
	faint  hue = "\x1b[2m"
	bold   hue = "\x1b[1m"
	good   hue = "\x1b[32m"
	notice hue = "\x1b[36m"
	warn   hue = "\x1b[33m"
	bad    hue = "\x1b[31m"
	reset      = "\x1b[0m"
)

func (s Style) paint(h hue, text string) string {
	if !s.Color || h == none || text == "" {
		return text
	}
	return string(h) + text + reset
}

func (s Style) in(t time.Time) time.Time {
	if s.Zone == nil {
		return t.UTC()
	}
	return t.In(s.Zone)
}

// moment is the time of day with milliseconds, and with the date unless that is today's.
func (s Style) moment(ts *timestamppb.Timestamp) string { return s.stamp(ts, "15:04:05.000") }

// second is moment without the milliseconds.
func (s Style) second(ts *timestamppb.Timestamp) string { return s.stamp(ts, "15:04:05") }

func (s Style) stamp(ts *timestamppb.Timestamp, clock string) string {
	if ts == nil {
		return "-"
	}
	t, now := s.in(ts.AsTime()), s.in(s.Now)
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format(clock)
	}
	return t.Format("2006-01-02 " + clock)
}

func severityHue(v spoorv1.Severity) hue {
	switch v {
	case spoorv1.Severity_SEVERITY_CRITICAL, spoorv1.Severity_SEVERITY_HIGH:
		return bad
	case spoorv1.Severity_SEVERITY_MEDIUM:
		return warn
	case spoorv1.Severity_SEVERITY_LOW:
		return notice
	default:
		return none
	}
}

func tierHue(tier string) hue {
	switch tier {
	case "full":
		return good
	case "base":
		return none
	default:
		return warn
	}
}

func kindHue(kind string) hue {
	switch kind {
	case "file_write", "file_change":
		return notice
	case "flow", "listen", "dns":
		return good
	case "share":
		return warn
	case "loss":
		return bad
	default:
		return none
	}
}
