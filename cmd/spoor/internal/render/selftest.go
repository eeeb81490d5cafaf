// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/agent/selftest"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Selftest writes how well each sensor can see, which acts were seen, which were not and why, and what that amounts to.
func Selftest(w io.Writer, s Style, r *selftest.Report) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	var coverage []*spoorv1.Coverage
	for _, sensor := range r.Sensors {
		coverage = append(coverage, &spoorv1.Coverage{Sensor: sensor.Name, Tier: sensor.Tier, Reason: sensor.Reason})
	}
	if err := Coverage(w, s, coverage); err != nil {
		return err
	}
	const indent = 10
	var b strings.Builder
	b.WriteString("\n" + s.paint(faint, pad("SEEN", indent)) + "\n")
	for _, group := range []act.Group{act.GroupFile, act.GroupMemory, act.GroupNetwork, act.GroupProcess} {
		if names := seen(r, group); len(names) > 0 {
			b.WriteString(pad(string(group), indent) + s.paint(good, wrap(strings.Join(names, ", "), s.Width, indent)) + "\n")
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if err := unseen(w, s, r); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n"+verdict(s, r))
	return err
}

func isSeen(state selftest.State) bool { return state == selftest.Seen || state == selftest.Surprise }

// seen lists the acts of a group that were seen wherever they were done.
func seen(r *selftest.Report, group act.Group) []string {
	var names []string
	missed := map[string]bool{}
	for _, c := range r.Cells {
		missed[c.Act] = missed[c.Act] || !isSeen(c.State)
	}
	done := map[string]bool{}
	for _, c := range r.Cells {
		if c.Group == group && !missed[c.Act] && !done[c.Act] {
			done[c.Act] = true
			names = append(names, c.Act)
		}
	}
	return names
}

// unseen is a table of all other acts, those with the same reason in one row.
func unseen(w io.Writer, s Style, r *selftest.Report) error {
	type reason struct {
		state selftest.State
		why   string
	}
	acts := map[reason][]string{}
	var order []reason
	for _, c := range r.Cells {
		if isSeen(c.State) {
			continue
		}
		k := reason{c.State, c.Why}
		if acts[k] == nil {
			order = append(order, k)
		}
		name := c.Act
		if c.FileSystem != "" {
			name += " on " + c.FileSystem
		}
		acts[k] = append(acts[k], name)
	}
	if len(order) == 0 {
		return nil
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := table{columns: []column{{title: "NOT SEEN"}, {title: "ACTS, AND WHY"}}}
	const first = 12
	for _, k := range order {
		h := faint
		switch {
		case !k.state.OK():
			h = bad
		case k.state != selftest.Impossible:
			h = warn
		}
		text := strings.Join(acts[k], ", ") + ": " + strings.ReplaceAll(strings.TrimSpace(k.why), "\n", "; ")
		t.add(cell{string(k.state), h}, cell{text: wrap(Printable(text), s.Width, first)})
	}
	s.Width = 0
	return t.write(w, s)
}

// verdict is the last word.
func verdict(s Style, r *selftest.Report) string {
	count := map[selftest.State]int{}
	for _, c := range r.Cells {
		count[c.State]++
	}
	text := fmt.Sprintf("%d acts in %s: %d seen, %d seen at times, %d not seen as is known, %d impossible here.",
		len(r.Cells), r.Took.Round(100*time.Millisecond), count[selftest.Seen]+count[selftest.Surprise], count[selftest.Sometimes],
		count[selftest.Missed], count[selftest.Impossible])
	if len(r.Losses) > 0 {
		text += " Lost meanwhile: " + strings.Join(r.Losses, "; ") + "."
	}
	if n := len(r.Short()); n > 0 {
		return text + "\n" + s.paint(bad, fmt.Sprintf("This host falls short of what its tiers promise: %s should have been seen, and told right.",
			plural(n, "act"))) + "\n"
	}
	return text + "\n" + s.paint(good, "This host sees all that its tiers promise.") + "\n"
}

// SelftestJSON writes one object a line: the sensors, the acts, and what it amounts to.
func SelftestJSON(w io.Writer, r *selftest.Report) error {
	type sensor struct {
		Sensor string `json:"sensor"`
		Tier   string `json:"tier"`
		Reason string `json:"reason"`
	}
	type cell struct {
		Act        string `json:"act"`
		Group      string `json:"group"`
		FileSystem string `json:"file_system,omitempty"`
		State      string `json:"state"`
		Why        string `json:"why,omitempty"`
	}
	type summary struct {
		Kernel  string   `json:"kernel_release"`
		Tier    string   `json:"tier"`
		Seconds float64  `json:"seconds"`
		Losses  []string `json:"losses"`
		OK      bool     `json:"ok"`
	}
	var lines []any
	for _, x := range r.Sensors {
		lines = append(lines, sensor{x.Name, x.Tier, x.Reason})
	}
	for _, c := range r.Cells {
		lines = append(lines, cell{c.Act, string(c.Group), c.FileSystem, string(c.State), c.Why})
	}
	lines = append(lines, summary{r.KernelRelease, r.Tier, r.Took.Seconds(), append([]string{}, r.Losses...), len(r.Short()) == 0})
	for _, l := range lines {
		if err := Object(w, l); err != nil {
			return err
		}
	}
	return nil
}
