// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// maxProblems is how many problems of one kind are listed.
const maxProblems = 20

// forgottenSchema is the first schema that says what was forgotten.
const forgottenSchema = 2

// Report is what Check found.
type Report struct {
	Summary
	// Oldest is the minute of the oldest event; zero when there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	Checks []Checked `json:"checks"`
}

// Checked is one thing that was looked at.
type Checked struct {
	Name string `json:"name"`
	// Problems, none when all is well.
	Problems []string `json:"problems,omitempty"`
	// Note says what could not be looked at.
	Note string `json:"note,omitempty"`
}

// OK reports whether there are no problems.
func (r *Report) OK() bool {
	for _, c := range r.Checks {
		if len(c.Problems) > 0 {
			return false
		}
	}
	return true
}

// Check reads all of a store or backup, in one snapshot, beside a collector that may use it. It changes nothing. An error means that the
// file cannot be checked: it is no store, of a newer version, or cannot be read at all.
func Check(ctx context.Context, path string) (_ *Report, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("check %s: %w", path, ended(ctx, err))
		}
	}()
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	c, err := openForReading(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	c.SetInterrupt(ctx.Done())
	if err := sqlitex.ExecuteTransient(c, "BEGIN", nil); err != nil {
		return nil, err
	}
	sum, err := summarise(c)
	if err != nil {
		return nil, err
	}
	sum.Path = path
	k := &checker{r: &reader{conn: c}, report: &Report{Summary: *sum}}
	oldest, err := k.r.integer("SELECT min(minute) FROM minute")
	if err != nil {
		return nil, err
	}
	if sum.Events > 0 {
		k.report.Oldest = goTime(oldest * minuteNanos)
	}
	for _, check := range []struct {
		name string
		run  func() error
	}{
		{"pages and indexes", k.integrity}, {"counts", k.counts}, {"index of time", k.minutes}, {"references", k.references}, {"roll-ups", k.rollups},
	} {
		k.report.Checks = append(k.report.Checks, Checked{Name: check.name})
		k.now = &k.report.Checks[len(k.report.Checks)-1]
		err := check.run()
		if code := sqlite.ErrCode(err).ToPrimary(); code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB {
			k.problem("cannot be read: %v", err)
			err = nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", check.name, err)
		}
	}
	return k.report, nil
}

type checker struct {
	r      *reader
	report *Report
	now    *Checked
}

func (k *checker) problem(format string, args ...any) {
	if len(k.now.Problems) < maxProblems {
		k.now.Problems = append(k.now.Problems, fmt.Sprintf(format, args...))
	}
}

func (k *checker) integrity() (err error) {
	k.now.Problems, err = integrity(k.r.conn, maxProblems)
	return err
}

func (k *checker) counts() error {
	events, err := k.r.integer("SELECT count(*) FROM event")
	if err != nil {
		return err
	}
	if events != k.report.Events {
		k.problem("%d events are stored, %d were counted", events, k.report.Events)
	}
	last, err := k.r.integer("SELECT value FROM meta WHERE key = 'last_id'")
	if err != nil {
		return err
	}
	return k.r.each("SELECT max(id), (SELECT count(*) FROM run WHERE last_event > ?) FROM event", []any{last}, func(st *sqlite.Stmt) error {
		if highest := st.ColumnInt64(0); highest > last {
			k.problem("event %d was given a number above the highest, %d: the next ones would replace it", highest, last)
		}
		if runs := st.ColumnInt64(1); runs > 0 {
			k.problem("%d runs of agents name events above the highest, %d", runs, last)
		}
		return nil
	})
}

// minutes: an event that its minute does not cover is not found by time.
func (k *checker) minutes() error {
	return k.r.each(`SELECT e.minute, e.first, e.last FROM (
			SELECT time / 60000000000 - (time % 60000000000 < 0) AS minute, min(id) AS first, max(id) AS last FROM event GROUP BY 1) e
		LEFT JOIN minute m ON m.minute = e.minute WHERE m.minute IS NULL OR m.first > e.first OR m.last < e.last LIMIT ?`,
		[]any{maxProblems}, func(st *sqlite.Stmt) error {
			k.problem("events %d to %d of %s are not all found by their time", st.ColumnInt64(1), st.ColumnInt64(2), goTime(st.ColumnInt64(0)*minuteNanos).Format(time.RFC3339))
			return nil
		})
}

// references are columns that must name a row. Processes and the other ends of flows may be forgotten before events that name them.
var references = []struct{ table, column, target, condition string }{
	{"event", "run", "run", "TRUE"},
	{"event", "instance", "instance", "t.instance IS NOT NULL"},
	{"event", "file", "file", "t.file IS NOT NULL"},
	{"event", "other", "file", "t.kind = 4 AND t.other IS NOT NULL"},
	{"event", "peer", "peer", "t.peer IS NOT NULL"},
	{"run", "node", "node", "TRUE"},
	{"instance", "workload", "workload", "t.workload IS NOT NULL"},
	{"process", "context", "context", "TRUE"},
	{"process", "exe", "string", "TRUE"},
	{"process", "comm", "string", "TRUE"},
	{"file", "dir", "string", "TRUE"},
	{"file", "host_dir", "string", "TRUE"},
	{"peer", "local_address", "string", "TRUE"},
	{"peer", "peer_address", "string", "TRUE"},
	{"edge_hour", "edge", "edge", "TRUE"},
}

func (k *checker) references() error {
	for _, ref := range references {
		n, err := k.r.integer("SELECT count(*) FROM " + ref.table + " t WHERE " + ref.condition +
			" AND NOT EXISTS (SELECT 1 FROM " + ref.target + " x WHERE x.id = t." + ref.column + ")")
		if err != nil {
			return err
		}
		if n > 0 {
			k.problem("%d rows of %s name a %s that is not there (%s)", n, ref.table, ref.target, ref.column)
		}
	}
	return nil
}

// rollups compares what edges are said to have carried with the flows that say so, in every hour of which no event was forgotten.
func (k *checker) rollups() error {
	if k.report.Schema < forgottenSchema {
		k.now.Note = "not compared: the store does not say yet what was forgotten; a collector of this version makes it so"
		return nil
	}
	before, err := k.r.integer("SELECT coalesce(max(before), ?) FROM forgotten", k.report.Oldest.UnixNano())
	if err != nil {
		return err
	}
	return k.r.each(`SELECT hour, sum(stored), sum(told) FROM (
			SELECT hour, side, flows AS stored, 0 AS told, opened, refused, timed_out FROM edge_hour
			UNION ALL
			SELECT e.time / 3600000000000 - (e.time % 3600000000000 < 0), p.direction - 1, 0, 1, -e.a, -e.c, -e.d
			FROM event e JOIN peer p ON p.id = e.peer WHERE e.kind = 5 AND p.direction IN (1, 2))
		WHERE hour > ? GROUP BY hour, side
		HAVING sum(stored) <> sum(told) OR sum(opened) <> 0 OR sum(refused) <> 0 OR sum(timed_out) <> 0 LIMIT ?`,
		[]any{store.FloorDiv(before, hourNanos), maxProblems}, func(st *sqlite.Stmt) error {
			k.problem("the hour of %s: %d flows are summed up, %d are stored, or what they carried differs",
				goTime(st.ColumnInt64(0)*hourNanos).Format(time.RFC3339), st.ColumnInt64(1), st.ColumnInt64(2))
			return nil
		})
}
