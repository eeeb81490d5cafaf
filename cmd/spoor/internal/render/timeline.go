// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// beat is one line of a story: a fact that may have happened several times in a row.
type beat struct {
	at, until time.Time
	who       string
	what      cell
	key       string
	times     int
}

// Timeline tells what a workload did as a story: time, process, what. Facts that repeat without anything
// between them are told once, with their number. Findings stand where they were first seen.
func Timeline(w io.Writer, s Style, events []*spoorv1.Event, findings []*spoorv1.Finding) error {
	var b strings.Builder
	day := ""
	for _, line := range beats(events, findings) {
		at := s.in(line.at)
		if d := at.Format("Monday 2 January 2006"); d != day {
			if day != "" {
				b.WriteByte('\n')
			}
			b.WriteString(s.paint(bold, d) + "\n")
			day = d
		}
		what := line.what.text
		if line.times > 1 {
			what += fmt.Sprintf(" — %d times until %s", line.times, s.in(line.until).Format("15:04:05"))
		}
		const clock, who = 12, 22
		name := pad(line.who, who)
		if s.Width > 0 {
			name = pad(cutMiddle(line.who, who), who)
			what = wrap(what, s.Width, clock+who+2*gutter)
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", s.paint(faint, at.Format("15:04:05.000")), name, s.paint(line.what.hue, what))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func beats(events []*spoorv1.Event, findings []*spoorv1.Finding) []beat {
	var out []beat
	executed := executed(events)
	for _, ev := range events {
		if ev.GetProcessStart().GetCause() == spoorv1.ProcessStart_CAUSE_FORK && executed[ev.GetProcess().GetExecId()] {
			continue
		}
		t := When(ev).AsTime()
		what := Sentence(ev)
		key := ev.GetProcess().GetExecId() + "\x00" + about(ev)
		if n := len(out); n > 0 && out[n-1].key == key {
			out[n-1].until = t
			out[n-1].times++
			continue
		}
		who := process(ev.GetProcess())
		if ev.GetProcess() == nil {
			who = Printable(ev.GetNode())
		}
		out = append(out, beat{at: t, until: t, who: who, what: cell{what, kindHue(ev.GetKind())}, key: key, times: 1})
	}
	for _, f := range findings {
		out = append(out, beat{
			at: f.GetFirstSeen().AsTime(), who: "finding " + Printable(f.GetId()), times: 1,
			what: cell{Printable(f.GetRule()) + ": " + Printable(f.GetTitle()), severityHue(f.GetSeverity())},
		})
	}
	slices.SortStableFunc(out, func(a, b beat) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return out
}

// executed holds the processes that another program replaced: their forks are not worth a line of their own.
func executed(events []*spoorv1.Event) map[string]bool {
	out := map[string]bool{}
	for _, ev := range events {
		if ev.GetProcessStart().GetCause() == spoorv1.ProcessStart_CAUSE_EXEC {
			out[ev.GetProcess().GetParentExecId()] = true
		}
	}
	return out
}

// about is what an event is about, without its amounts: two events of one process that are about the same
// tell the same fact.
func about(ev *spoorv1.Event) string {
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_FileWrite:
		return "write " + pathOf(fact.FileWrite.GetFile())
	case *spoorv1.Event_Flow:
		f := fact.Flow
		return fmt.Sprintf("flow %d %d %s %d %s %d", f.GetDirection(), f.GetTransport(),
			f.GetPeer().GetAddress(), f.GetPeer().GetPort(), f.GetLocal().GetAddress(), f.GetLocal().GetPort())
	default:
		return ev.GetKind() + " " + Sentence(ev)
	}
}
