// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func severity(v spoorv1.Severity) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "SEVERITY_"))
}

// State is the state of a finding in one word.
func State(v spoorv1.FindingState) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "FINDING_STATE_"))
}

func stateHue(v spoorv1.FindingState) hue {
	switch v {
	case spoorv1.FindingState_FINDING_STATE_OPEN:
		return bold
	case spoorv1.FindingState_FINDING_STATE_RESOLVED, spoorv1.FindingState_FINDING_STATE_EXPIRED:
		return faint
	default:
		return none
	}
}

// Findings writes a table of findings.
func Findings(w io.Writer, s Style, findings []*spoorv1.Finding) error {
	t := table{columns: []column{
		{title: "ID"},
		{title: "SEVERITY"},
		{title: "STATE", drop: 2},
		{title: "RULE"},
		{title: "WORKLOAD", min: 14, cut: cutMiddle},
		{title: "LAST SEEN", drop: 1},
		{title: "COUNT", right: true, drop: 3},
		{title: "WHAT", min: 24, cut: cutSentence},
	}}
	for _, f := range findings {
		t.add(
			text(Printable(f.GetId())),
			cell{severity(f.GetSeverity()), severityHue(f.GetSeverity())},
			cell{State(f.GetState()), stateHue(f.GetState())},
			text(Printable(f.GetRule())),
			text(WorkloadName(f.GetWorkload(), "")),
			cell{s.second(f.GetLastSeen()), faint},
			text(fmt.Sprint(f.GetCount())),
			text(Printable(besideWorkload(f))),
		)
	}
	return t.write(w, s)
}

// besideWorkload is what a finding says, for a table that has its workload in another column: without the words that name it again.
func besideWorkload(f *spoorv1.Finding) string {
	w := f.GetWorkload()
	rest, ok := strings.CutPrefix(f.GetTitle(), fmt.Sprintf("%s %s/%s", w.GetKind(), w.GetNamespace(), w.GetName()))
	rest = strings.TrimLeft(rest, ": ")
	if !ok || rest == "" {
		return f.GetTitle()
	}
	return rest
}

// FindingLine tells one finding in a line.
func FindingLine(s Style, f *spoorv1.Finding) string {
	line := "finding " + Printable(f.GetId()) + "  " + severity(f.GetSeverity()) + "  " + Printable(f.GetRule()) + "  " + Printable(f.GetTitle())
	if s.Width > 0 {
		line = cutEnd(line, s.Width)
	}
	return s.paint(severityHue(f.GetSeverity()), line)
}

// Finding writes all that is known about one finding, the evidence last.
func Finding(w io.Writer, s Style, f *spoorv1.Finding, evidence []*spoorv1.Event) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", s.paint(severityHue(f.GetSeverity()), strings.ToUpper(severity(f.GetSeverity()))),
		s.paint(bold, Printable(f.GetRule())), Printable(f.GetId()))
	fmt.Fprintf(&b, "%s\n\n", wrap(Printable(f.GetTitle()), s.Width, 0))

	field := func(name, value string) {
		if value != "" && value != "-" {
			const indent = 12
			fmt.Fprintf(&b, "%s%s\n", s.paint(faint, pad(name, indent)), wrap(value, s.Width, indent))
		}
	}
	field("workload", WorkloadName(f.GetWorkload(), ""))
	field("owner", owner(f.GetOwner()))
	field("subject", Printable(f.GetSubject()))
	field("contract", Printable(f.GetContract()))
	field("state", stateLine(s, f))
	field("seen", fmt.Sprintf("%s, first %s, last %s", plural(f.GetCount(), "time"), s.second(f.GetFirstSeen()), s.second(f.GetLastSeen())))
	field("why", Printable(f.GetWhy()))
	field("fix", Printable(f.GetFix()))
	field("view", Gaps(f.GetCompleteness()))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if len(evidence) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", s.paint(bold, "Evidence")); err != nil {
		return err
	}
	return Events(w, s, evidence)
}

func owner(o *spoorv1.Owner) string {
	team, oncall := Printable(o.GetTeam()), Printable(o.GetOncall())
	switch {
	case team != "" && oncall != "":
		return team + ", on call " + oncall
	case oncall != "":
		return "on call " + oncall
	default:
		return team
	}
}

func stateLine(s Style, f *spoorv1.Finding) string {
	line := State(f.GetState())
	if f.GetStateChanged() != nil && f.GetState() != spoorv1.FindingState_FINDING_STATE_OPEN {
		line += " since " + s.second(f.GetStateChanged())
	}
	if f.GetNote() != "" {
		line += ": " + Printable(f.GetNote())
	}
	return line
}

// Gaps says in one line how complete an answer is; empty when nothing is known about that.
func Gaps(c *spoorv1.Completeness) string {
	switch {
	case c == nil:
		return ""
	case len(c.GetGaps()) > 0:
		return "incomplete: " + Printable(strings.Join(c.GetGaps(), "; "))
	case c.GetComplete():
		return "complete: no gap is known"
	default:
		return "incomplete"
	}
}
