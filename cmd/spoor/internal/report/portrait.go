// SPDX-License-Identifier: Apache-2.0

package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/contract/portrait"
)

// PortraitJSON writes one object a line.
func PortraitJSON(w io.Writer, all []portrait.Portrait) error {
	for i := range all {
		if err := render.Object(w, &all[i]); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// PortraitText writes what is known of one workload, for people.
func PortraitText(w io.Writer, p *portrait.Portrait, zone *time.Location) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(render.Printable(fmt.Sprintf(format, args...)) + "\n")
	}
	line("%s: %s", p.Workload, p.Verdict)
	line("seen from %s to %s; instances: %d, nodes: %d", stamp(p.First, zone), stamp(p.Last, zone), p.Instances, p.Nodes)
	b.WriteString("\nIS IT STATELESS?\n")
	for _, why := range p.Because {
		line("  %s", why)
	}
	for _, e := range p.Evidence {
		line("  %-6s  %s  %s", e.Severity, e.Rule, e.Title)
	}
	for _, part := range []struct {
		title string
		facts []portrait.Fact
	}{{"LISTENS", p.Listeners}, {"IS CALLED BY", p.Callers}, {"CALLS", p.Calls}} {
		b.WriteString("\n" + part.title + "\n")
		if len(part.facts) == 0 {
			b.WriteString("  nothing was seen\n")
		}
		for i := range part.facts {
			f := &part.facts[i]
			line("  %-5d %-4s  %s%s", f.Port, f.Transport, f.Who, remarks(f, zone))
		}
	}
	b.WriteString("\nTWELVE FACTORS, AS FAR AS THEY SHOW\n")
	for _, f := range p.Factors {
		line("  %-4s %-17s %-8s %s", f.Number, f.Name, f.Holds, f.Because)
	}
	b.WriteString("\nWHAT TO CHANGE FIRST\n")
	if len(p.Change) == 0 {
		b.WriteString("  nothing\n")
	}
	for i, change := range p.Change {
		line("  %d. %s", i+1, change)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// PortraitRank writes a line for each workload.
func PortraitRank(w io.Writer, all []portrait.Portrait) error {
	width := len("WORKLOAD")
	for i := range all {
		width = max(width, len(render.Printable(all[i].Workload)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s  %-11s  %6s  %9s  %s\n", width, "WORKLOAD", "VERDICT", "WEIGHT", "LISTENERS", "BECAUSE")
	for i := range all {
		p := &all[i]
		fmt.Fprintf(&b, "%-*s  %-11s  %6d  %9d  %s\n", width, render.Printable(p.Workload), p.Verdict, p.Weight, len(p.Listeners), render.Printable(p.Because[0]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func remarks(f *portrait.Fact, zone *time.Location) string {
	var all []string
	if f.New {
		all = append(all, "new since "+stamp(f.First, zone))
	}
	if f.Failed {
		all = append(all, "never answered")
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

func stamp(t time.Time, zone *time.Location) string {
	return t.In(zone).Format("2006-01-02 15:04:05 MST")
}

//go:embed portrait.html
var portraitPage string

// PortraitHTML writes one page that needs nothing else.
func PortraitHTML(w io.Writer, all []portrait.Portrait, zone *time.Location) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"stamp":   func(t time.Time) string { return stamp(t, zone) },
		"remarks": func(f portrait.Fact) string { return remarks(&f, zone) },
	}).Parse(portraitPage)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := page.Execute(w, all); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
