// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"fmt"
	"math"
	"strings"

	"github.com/spoor/spoor/collector/store"
)

// eventRun is runKey of an event, for runs whose names need no escapes: those of others are corrected by nobody.
const eventRun = `concat(cluster, '\0', node, '\0', epoch)`

// corrected is the column time by a clock that was right; run is an expression for the runKey of a row.
func corrected(p *store.Period, run string) string {
	if len(p.Clocks) == 0 {
		return "time"
	}
	keys, ahead := make([]string, len(p.Clocks)), make([]string, len(p.Clocks))
	for i, c := range p.Clocks {
		keys[i], ahead[i] = quote(runKey(c.Run)), fmt.Sprint(int64(c.Ahead))
	}
	return fmt.Sprintf("(time - transform(%s, [%s], CAST([%s], 'Array(Int64)'), toInt64(0)))", run, strings.Join(keys, ", "), strings.Join(ahead, ", "))
}

// during keeps to a period: at is what corrected returned. What nodes may have told comes first, because of that there are indexes.
func during(p *store.Period, at string) string {
	if !p.Bounded() {
		return ""
	}
	low, high := store.Between(p.From, p.To)
	var b strings.Builder
	if len(p.Clocks) > 0 {
		var told []string
		for _, i := range p.Told() {
			told = append(told, fmt.Sprintf("time >= toInt64('%d') AND time <= toInt64('%d')", i.Low, i.High))
		}
		b.WriteString(" AND (" + strings.Join(told, " OR ") + ")")
	}
	if low != math.MinInt64 {
		fmt.Fprintf(&b, " AND %s >= %d", at, low)
	}
	if high != math.MaxInt64 {
		fmt.Fprintf(&b, " AND %s < %d", at, high)
	}
	return b.String()
}
