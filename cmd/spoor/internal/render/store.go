// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/spoor/spoor/collector/store/sqlite"
)

// StoreReport writes what a check of a store found, a line for each thing that was looked at and one for each problem.
func StoreReport(w io.Writer, s Style, r *sqlite.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: schema %d, %s events, %s", r.Path, r.Schema, humanize.Comma(r.Events), humanize.IBytes(r.Bytes))
	if !r.Oldest.IsZero() {
		fmt.Fprintf(&b, ", oldest %s", r.Oldest.In(s.Zone).Format("2006-01-02 15:04"))
	}
	b.WriteByte('\n')
	for _, c := range r.Checks {
		word := "ok"
		switch {
		case len(c.Problems) > 0:
			word = "wrong"
		case c.Note != "":
			word = c.Note
		}
		fmt.Fprintf(&b, "%-18s %s\n", c.Name, word)
		for _, p := range c.Problems {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(p, "\n", " "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// StoreReportJSON writes it as one object.
func StoreReportJSON(w io.Writer, r *sqlite.Report) error {
	return json.NewEncoder(w).Encode(r)
}
