// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Status writes the agents with what each can see, and the state of the store.
func Status(w io.Writer, s Style, st *spoorv1.GetStatusResponse) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.paint(faint, pad("collector", 12)), orUnknown(st.GetVersion()))
	store := plural(st.GetEvents(), "event") + " in " + size(st.GetStoreBytes())
	if st.GetOldest() != nil {
		store += ", oldest " + s.second(st.GetOldest())
	}
	fmt.Fprintf(&b, "%s %s\n", s.paint(faint, pad("store", 12)), store)
	if gaps := Gaps(st.GetCompleteness()); gaps != "" {
		h := good
		if !st.GetCompleteness().GetComplete() {
			h = warn
		}
		fmt.Fprintf(&b, "%s %s\n", s.paint(faint, pad("view", 12)), s.paint(h, wrap(gaps, s.Width, 13)))
	}
	if len(st.GetAgents()) == 0 {
		b.WriteString("\nNo agent has reported yet.\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	for _, a := range st.GetAgents() {
		if err := agent(w, s, a); err != nil {
			return err
		}
	}
	return nil
}

func agent(w io.Writer, s Style, a *spoorv1.AgentStatus) error {
	name := Printable(a.GetNode())
	if a.GetCluster() != "" {
		name = Printable(a.GetCluster()) + "/" + name
	}
	state, h := "connected", good
	if !a.GetConnected() {
		state, h = "silent since "+s.second(a.GetLastSeen()), bad
	}
	_, err := fmt.Fprintf(w, "\nagent %s  %s  version %s, kernel %s, up since %s, %s acknowledged\n",
		s.paint(bold, name), s.paint(h, state), orUnknown(a.GetVersion()), orUnknown(a.GetKernelRelease()),
		s.second(a.GetStartTime()), plural(a.GetAcknowledged(), "batch"))
	if err != nil {
		return err
	}
	return Coverage(w, s, a.GetCoverage())
}

// Coverage writes a table of sensors: how well each can see, and what it cannot.
func Coverage(w io.Writer, s Style, coverage []*spoorv1.Coverage) error {
	if len(coverage) == 0 {
		_, err := io.WriteString(w, "No sensor has reported yet.\n")
		return err
	}
	t := table{columns: []column{{title: "SENSOR"}, {title: "TIER"}, {title: "WHY"}}}
	for _, c := range coverage {
		t.add(text(Printable(c.GetSensor())), cell{Printable(c.GetTier()), tierHue(c.GetTier())}, text(Printable(c.GetReason())))
	}
	if s.Width > 0 {
		// Reasons are sentences: they are broken, not cut.
		l := t.layout(Style{})
		indent := l.widths[0] + l.widths[1] + 2*gutter
		for _, row := range t.rows {
			row[2].text = wrap(row[2].text, s.Width, indent)
		}
		s.Width = 0
	}
	return t.write(w, s)
}

func orUnknown(v string) string {
	if v == "" {
		return "unknown"
	}
	return Printable(v)
}

// Rate is how often something happens in a second, in few digits.
func Rate(perSecond float64) string {
	if perSecond < 10 {
		return humanize.FtoaWithDigits(perSecond, 1)
	}
	return grouped(int(perSecond + 0.5))
}
