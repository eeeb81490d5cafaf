// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// condition is one term of a WHERE clause.
type condition struct {
	sql  string
	args []any
}

// selection is an EventQuery as SQL: the conditions that hold for all events, and one or more ways to get at them,
// each through one index. SQLite's planner has no statistics to know that a path or an address selects better than
// a range of ids does, so the way is chosen here and told to it.
type selection struct {
	clocks condition // a join, or nothing
	common []condition
	ways   []way
}

type way struct {
	index string // of event, or "" for the order of ids
	extra []condition
}

func (s *selection) statement(newest bool) string {
	var b strings.Builder
	for i, w := range s.ways {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		b.WriteString("SELECT " + eventColumns + " FROM event")
		if w.index != "" {
			b.WriteString(" INDEXED BY " + w.index)
		}
		b.WriteString(s.clocks.sql)
		b.WriteString(" WHERE event.id > ? AND event.id <= ?")
		for _, c := range slices.Concat(w.extra, s.common) {
			b.WriteString(" AND " + c.sql)
		}
	}
	b.WriteString(" ORDER BY 1")
	if newest {
		b.WriteString(" DESC")
	}
	b.WriteString(" LIMIT ?")
	return b.String()
}

func (s *selection) arguments(from, to int64, limit int) []any {
	var args []any
	for _, w := range s.ways {
		args = append(append(args, s.clocks.args...), from, to)
		for _, c := range slices.Concat(w.extra, s.common) {
			args = append(args, c.args...)
		}
	}
	return append(args, limit)
}

func (s *selection) add(sql string, args ...any) {
	s.common = append(s.common, condition{sql, args})
}

// through sets the way, unless a better one was set before.
func (s *selection) through(index string) {
	if len(s.ways) == 0 {
		s.ways = []way{{index: index}}
	}
}

// selection translates the query; nil when it names a process that the store does not have.
func (r *reader) selection(q *store.EventQuery) (*selection, error) {
	s := &selection{}
	// The order of these is the order of preference.
	if q.PathPrefix != "" {
		if err := r.paths(s, q.PathPrefix); err != nil {
			return nil, err
		}
	}
	if q.Address != "" {
		s.add(`event.peer IN (SELECT p.id FROM string s JOIN peer p ON p.peer_address = s.id WHERE s.text = ?
			UNION ALL SELECT p.id FROM string s JOIN peer p ON p.local_address = s.id WHERE s.text = ?)`, q.Address, q.Address)
		s.through("event_peer")
	}
	if q.ExecID != "" {
		if known, err := r.ofProcess(q.ExecID, s); err != nil || !known {
			return nil, err
		}
	}
	if q.Workload != nil {
		c := workloadCondition(q.Workload)
		if q.Node != "" { // the others of the workload need not be looked at
			c.sql, c.args = c.sql+" AND i.node IN (SELECT id FROM node WHERE name = ?)", append(c.args, q.Node)
		}
		s.add("event.instance IN (SELECT i.id FROM workload w JOIN instance i ON i.workload = w.id WHERE "+c.sql+")", c.args...)
		s.through("event_instance")
	}
	if len(q.Kinds) > 0 {
		s.kinds(q.Kinds)
	}
	if q.Node != "" {
		s.add("event.run IN (SELECT run.id FROM run JOIN node ON node.id = run.node WHERE node.name = ?)", q.Node)
	}
	if q.Bounded() {
		period, err := r.period(&q.Period, "event.time", "event.run")
		if err != nil {
			return nil, err
		}
		s.clocks, s.common = period.clocks, append(s.common, period.bounds)
	}
	s.through("")
	return s, nil
}

// maxFiles is how many files are worth a look-up each. A prefix of more is so wide that going through the events and
// asking each for its path finds enough sooner.
const maxFiles = 20_000 // Store.maxFiles

// filesBelow selects files whose path begins with a prefix: those whose directory begins with it, and those in whose
// name it ends.
const filesBelow = `SELECT f.id FROM string d JOIN file f ON f.dir = d.id WHERE d.text >= ? AND d.text < ?
	UNION ALL SELECT f.id FROM string d JOIN file f ON f.dir = d.id WHERE d.text = ? AND f.name >= ? AND f.name < ?`

// paths selects events of files whose path begins with prefix, and renames and links to such a path.
func (r *reader) paths(s *selection, prefix string) error {
	dir, name := splitPath(prefix)
	args := []any{prefix, prefixEnd(prefix), dir, name, prefixEnd(name)}
	var ids []byte
	n := 0
	err := r.each(filesBelow+" LIMIT ?", append(slices.Clip(args), r.maxFiles+1), func(st *sqlite.Stmt) error {
		ids = strconv.AppendInt(append(ids, ','), st.ColumnInt64(0), 10)
		n++
		return nil
	})
	if err != nil {
		return err
	}
	if n > r.maxFiles {
		s.add(`event.file IS NOT NULL AND EXISTS (SELECT 1 FROM file f JOIN string d ON d.id = f.dir
			WHERE f.id IN (event.file, CASE event.kind WHEN 4 THEN event.other END)
			AND (d.text >= ? AND d.text < ? OR d.text = ? AND f.name >= ? AND f.name < ?))`, args...)
		s.ways = []way{{}}
		return nil
	}
	const files = "(SELECT value FROM json_each(?))"
	args = []any{"[" + strings.TrimPrefix(string(ids), ",") + "]"}
	s.ways = []way{
		{"event_file", []condition{{"event.file IN " + files, args}}},
		{"event_target", []condition{
			{"event.kind = 4 AND event.other IN " + files, args},
			{"(event.file IS NULL OR event.file NOT IN " + files + ")", args},
		}},
	}
	return nil
}

// prefixEnd is above every string that begins with p in SQLite's order of bytes: no UTF-8 has the byte 0xff.
func prefixEnd(p string) string { return p + "\xff" }

// ofProcess selects the events of one process: through its instances, from the first event that named it.
func (r *reader) ofProcess(execID string, s *selection) (known bool, err error) {
	st, err := r.conn.Prepare("SELECT count(*), count(instance), coalesce(min(first_event), 0) FROM process WHERE exec_id = ?")
	if err != nil {
		return false, err
	}
	st.BindText(1, execID)
	if _, err := st.Step(); err != nil {
		return false, err
	}
	versions, instances, first := st.ColumnInt64(0), st.ColumnInt64(1), st.ColumnInt64(2)
	if err := st.Reset(); err != nil {
		return false, err
	}
	s.add("event.id >= ? AND event.process IN (SELECT id FROM process WHERE exec_id = ?)", first, execID)
	if instances == versions {
		s.add("event.instance IN (SELECT instance FROM process WHERE exec_id = ?)", execID)
		s.through("event_instance")
	}
	return versions > 0, nil
}

func (s *selection) kinds(kinds []store.Kind) {
	mask, rare := int64(0), true
	for _, k := range kinds {
		mask |= 1 << (k & 63)
		rare = rare && k >= store.KindListen
	}
	s.add("(1 << event.kind) & ? <> 0", mask)
	if rare {
		// The index is partial: SQLite must read its very condition to know that it may use it.
		s.add("event.kind >= 6")
		s.through("event_rare")
	}
}

// workloadCondition is a pattern as a condition on workload w.
func workloadCondition(p *store.Pattern) condition {
	c := condition{sql: "TRUE"}
	for _, part := range []struct{ column, glob string }{
		{"w.name", p.Name}, {"w.kind", p.Kind}, {"w.namespace", p.Namespace}, {"w.cluster", p.Cluster},
	} {
		switch {
		case part.glob == "*":
		case strings.Contains(part.glob, "*"):
			c.sql += " AND " + part.column + " GLOB ?"
			c.args = append(c.args, sqlGlob(part.glob))
		default:
			c.sql += " AND " + part.column + " = ?"
			c.args = append(c.args, part.glob)
		}
	}
	return c
}

// sqlGlob keeps * and takes the other wildcards of GLOB literally.
func sqlGlob(glob string) string {
	return strings.NewReplacer("[", "[[]", "?", "[?]").Replace(glob)
}

func (r *reader) integer(sql string, args ...any) (int64, error) {
	st, err := r.conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	bind(st, args)
	found, err := st.Step()
	if err != nil {
		return 0, err
	}
	var v int64
	if found {
		v = st.ColumnInt64(0)
	}
	return v, st.Reset()
}

// each runs a statement and calls f for every row.
func (r *reader) each(sql string, args []any, f func(*sqlite.Stmt) error) error {
	st, err := r.conn.Prepare(sql)
	if err != nil {
		return err
	}
	bind(st, args)
	for {
		found, err := st.Step()
		if err != nil {
			return err
		}
		if !found {
			return st.Reset()
		}
		if err := f(st); err != nil {
			_ = st.Reset() // f's error is the one that matters
			return err
		}
	}
}
