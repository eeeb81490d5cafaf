// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"

	"github.com/spoor/spoor/contract"
)

// Backtest writes a table of how many findings of each rule opened on each day.
func Backtest(w io.Writer, s Style, days []contract.BacktestDay) error {
	t := table{columns: []column{{title: "DAY (UTC)"}, {title: "RULE"}, {title: "TODAY'S", right: true}, {title: "PROPOSED", right: true}}}
	for _, d := range days {
		t.add(text(d.Day), text(Printable(d.Rule)), text(fmt.Sprint(d.Current)), text(fmt.Sprint(d.Proposed)))
	}
	return t.write(w, s)
}
