// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"encoding/json"
	"math"
	"time"

	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// minutes returns the lowest and highest id of events in a period, or wider.
func (r *reader) minutes(p *store.Period) (first, last int64, err error) {
	if !p.Bounded() {
		last, err = r.integer("SELECT value FROM meta WHERE key = 'last_id'")
		return 1, last, err
	}
	first = math.MaxInt64
	for _, told := range p.Told() {
		err := r.each("SELECT min(first), max(last) FROM minute WHERE minute BETWEEN ? AND ?",
			[]any{store.FloorDiv(told.Low, minuteNanos), store.FloorDiv(told.High, minuteNanos)}, func(st *sqlite.Stmt) error {
				if !st.ColumnIsNull(0) {
					first, last = min(first, st.ColumnInt64(0)), max(last, st.ColumnInt64(1))
				}
				return nil
			})
		if err != nil {
			return 0, 0, err
		}
	}
	return min(first, last+1), last, nil
}

// during is a period in SQL.
type during struct {
	clocks condition // a join, or nothing
	time   string    // of a row, by a clock that was right
	bounds condition
}

// period selects rows by the time that a node told, and the run that told it: both are columns.
func (r *reader) period(p *store.Period, told, run string) (*during, error) {
	d := &during{time: told, bounds: condition{sql: "TRUE"}}
	if len(p.Clocks) > 0 {
		clocks, err := r.clocks(p.Clocks)
		if err != nil {
			return nil, err
		}
		if clocks != "" {
			// A join, and not one for each row: because of the LIMIT, SQLite makes a table and an index of it, once for a statement.
			d.clocks = condition{" LEFT JOIN (SELECT CAST(key AS INTEGER) AS run, value AS ahead FROM json_each(?) LIMIT -1) AS clock ON clock.run = " + run, []any{clocks}}
			d.time = told + " - coalesce(clock.ahead, 0)"
		}
	}
	for _, b := range []struct {
		is string
		at time.Time
	}{{" >= ?", p.From}, {" < ?", p.To}} {
		if !b.at.IsZero() {
			d.bounds.sql += " AND " + d.time + b.is
			d.bounds.args = append(d.bounds.args, b.at.UnixNano())
		}
	}
	return d, nil
}

// clocks is a JSON object with how far ahead runs were, by their numbers; empty when none of them is stored.
func (r *reader) clocks(clocks []store.Clock) (string, error) {
	list := make([][4]any, len(clocks))
	for i, c := range clocks {
		list[i] = [4]any{c.Cluster, c.Node, c.Epoch, int64(c.Ahead)}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	ahead := map[int64]int64{}
	err = r.each(`SELECT run.id, clock.value ->> 3 FROM json_each(?) AS clock
		CROSS JOIN node ON node.cluster = clock.value ->> 0 AND node.name = clock.value ->> 1
		CROSS JOIN run ON run.node = node.id AND run.epoch = clock.value ->> 2`, []any{string(text)}, func(st *sqlite.Stmt) error {
		ahead[st.ColumnInt64(0)] = st.ColumnInt64(1)
		return nil
	})
	if err != nil || len(ahead) == 0 {
		return "", err
	}
	text, err = json.Marshal(ahead)
	return string(text), err
}
