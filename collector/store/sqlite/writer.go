// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/types/known/timestamppb"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// writer is the one connection that changes the database. It is used by one goroutine at a time.
type writer struct {
	conn *sqlite.Conn
	// statements by their text. Conn.Prepare has the same map but clears bindings on each use, which costs more than
	// the binding itself.
	statements map[string]*sqlite.Stmt
	ids        *dictionaries
	// cache is the writer's own: after a rollback the same numbers may come to mean something else.
	cache *entityCache
	runs  map[store.Run]*runState
	// broken is set when the connection could not roll back: nothing may be built on its state.
	broken error
}

// runState is what the writer must know of a run for every batch.
type runState struct {
	id, node     int64
	acknowledged uint64
	lastSequence uint64
}

// maxRuns bounds writer.runs; a run that was dropped from it is read again.
const maxRuns = 16384

func openWriter(path string, cacheBytes int64, log *slog.Logger) (_ *writer, err error) {
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: c, statements: map[string]*sqlite.Stmt{}, ids: newDictionaries(), cache: newEntityCache(16384), runs: map[store.Run]*runState{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	c.SetBusyTimeout(10 * time.Second)
	if err := checkOurs(c); err != nil {
		return nil, err
	}
	err = pragmas(c,
		// Room that became free can be given back to the file system. It holds for a new file only, and must be said first.
		"auto_vacuum=incremental",
		"journal_mode=wal",
		// Whole after the power has failed, but for what sync has not brought to the disk by then.
		"synchronous=normal",
		fmt.Sprintf("cache_size=-%d", cacheBytes/1024),
		fmt.Sprintf("wal_autocheckpoint=%d", checkpointByWriter),
		"journal_size_limit=67108864",
		"temp_store=memory",
	)
	if err != nil {
		return nil, err
	}
	return w, migrate(c, log)
}

func (w *writer) close() error {
	for _, st := range w.statements {
		_ = st.Finalize() // repeats the error of the statement's last step
	}
	clear(w.statements)
	return w.conn.Close()
}

// transaction runs f and commits, or rolls back and forgets everything that f may have taken for stored.
func (w *writer) transaction(f func() error) (err error) {
	if w.broken != nil {
		return fmt.Errorf("the store is unusable since an earlier failure, restart the collector: %w", w.broken)
	}
	if err := w.do("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		w.forgetIDs()
		for _, st := range w.statements {
			// The error of the failed step comes again here; it is the one that is being returned.
			_ = st.Reset()
		}
		// Some failures (disk full) have rolled back already.
		if !w.conn.AutocommitEnabled() {
			if err2 := sqlitex.ExecuteTransient(w.conn, "ROLLBACK", nil); err2 != nil {
				w.broken = err2
				err = errors.Join(err, err2)
			}
		}
	}()
	if err := f(); err != nil {
		return err
	}
	return w.do("COMMIT")
}

// forgetIDs drops every number that is kept in memory.
func (w *writer) forgetIDs() {
	w.ids.purge()
	w.cache.purge()
	clear(w.runs)
}

// stmt returns the prepared statement, ready to bind.
func (w *writer) stmt(sql string) (*sqlite.Stmt, error) {
	st, ok := w.statements[sql]
	if ok {
		return st, nil
	}
	st, trailing, err := w.conn.PrepareTransient(sql)
	if err != nil {
		return nil, err
	}
	if trailing != 0 {
		return nil, fmt.Errorf("more than one statement in %q", sql)
	}
	w.statements[sql] = st
	return st, nil
}

// do runs a statement that returns no rows. Every parameter must be given, in order.
func (w *writer) do(sql string, args ...any) error {
	st, err := w.stmt(sql)
	if err != nil {
		return err
	}
	bind(st, args)
	if _, err := st.Step(); err != nil {
		return err
	}
	return st.Reset()
}

// insert runs an INSERT and returns the rowid.
func (w *writer) insert(sql string, args ...any) (int64, error) {
	if err := w.do(sql, args...); err != nil {
		return 0, err
	}
	return w.conn.LastInsertRowID(), nil
}

// find runs a query for one integer and reports whether there was a row.
func (w *writer) find(sql string, args ...any) (int64, bool, error) {
	st, err := w.stmt(sql)
	if err != nil {
		return 0, false, err
	}
	bind(st, args)
	found, err := st.Step()
	if err != nil {
		return 0, false, err
	}
	var v int64
	if found {
		v = st.ColumnInt64(0)
	}
	return v, found, st.Reset()
}

// null stands for 0 in columns where 0 means that there is none.
type null int64

// optional is an integer that may be absent.
type optional struct {
	v  int64
	ok bool
}

// bind sets all parameters. It is a switch and not reflection because it runs for every entity.
func bind(st *sqlite.Stmt, args []any) {
	for i, a := range args {
		switch v := a.(type) {
		case int64:
			st.BindInt64(i+1, v)
		case int:
			st.BindInt64(i+1, int64(v))
		case int32:
			st.BindInt64(i+1, int64(v))
		case uint32:
			st.BindInt64(i+1, int64(v))
		case uint64:
			st.BindInt64(i+1, int64(v))
		case bool:
			st.BindBool(i+1, v)
		case string:
			st.BindText(i+1, v)
		case []byte:
			if v == nil {
				st.BindNull(i + 1)
			} else {
				st.BindBytes(i+1, v)
			}
		case null:
			bindNull(st, i+1, int64(v))
		case optional:
			if v.ok {
				st.BindInt64(i+1, v.v)
			} else {
				st.BindNull(i + 1)
			}
		case nil:
			st.BindNull(i + 1)
		default:
			panic(fmt.Sprintf("sqlite store: cannot bind a %T", a))
		}
	}
}

func bindNull(st *sqlite.Stmt, param int, v int64) {
	if v == 0 {
		st.BindNull(param)
	} else {
		st.BindInt64(param, v)
	}
}

// nanos is the time as the columns keep it, which may be none.
func nanos(ts *timestamppb.Timestamp) (optional, error) {
	if ts == nil {
		return optional{}, nil
	}
	n, err := store.Nanos(ts)
	return optional{n, err == nil}, err
}

func timestamp(ns int64) *timestamppb.Timestamp {
	s, n := ns/1e9, ns%1e9
	if n < 0 {
		s, n = s-1, n+1e9
	}
	return &timestamppb.Timestamp{Seconds: s, Nanos: int32(n)}
}

// run returns what is known of the run, making it when it is new.
func (w *writer) run(r store.Run, seen int64) (*runState, error) {
	if st, ok := w.runs[r]; ok {
		return st, nil
	}
	node, found, err := w.find("SELECT id FROM node WHERE cluster = ? AND name = ?", r.Cluster, r.Node)
	if err == nil && !found {
		node, err = w.insert("INSERT INTO node (cluster, name) VALUES (?, ?)", r.Cluster, r.Node)
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", r.Node, err)
	}
	st := &runState{node: node}
	q, err := w.stmt("SELECT id, acknowledged, last_sequence FROM run WHERE node = ? AND epoch = ?")
	if err != nil {
		return nil, err
	}
	bind(q, []any{node, r.Epoch})
	found, err = q.Step()
	if err != nil {
		return nil, err
	}
	if found {
		st.id, st.acknowledged, st.lastSequence = q.ColumnInt64(0), uint64(q.ColumnInt64(1)), uint64(q.ColumnInt64(2))
	}
	if err := q.Reset(); err != nil {
		return nil, err
	}
	if !found {
		st.id, err = w.insert("INSERT INTO run (node, epoch, last_seen) VALUES (?, ?, ?)", node, r.Epoch, seen)
		if err != nil {
			return nil, fmt.Errorf("run %s of node %s: %w", r.Epoch, r.Node, err)
		}
	}
	if len(w.runs) >= maxRuns {
		clear(w.runs)
	}
	w.runs[r] = st
	return st, nil
}

func (w *writer) hello(h *store.Hello) error {
	st, err := w.run(h.Run, h.Seen.UnixNano())
	if err != nil {
		return err
	}
	start := optional{}
	if !h.Start.IsZero() {
		start = optional{h.Start.UnixNano(), true}
	}
	return w.do(`UPDATE run SET boot_id = ?, version = ?, kernel_release = ?, architecture = ?, start_time = ?,
		last_seen = max(last_seen, ?) WHERE id = ?`,
		h.BootID, h.Version, h.KernelRelease, h.Architecture, start, h.Seen.UnixNano(), st.id)
}

// coverage keeps the latest word of a sensor.
func (w *writer) coverage(run int64, c *spoorv1.Coverage, t int64) error {
	return w.do(`INSERT INTO coverage (run, sensor, tier, reason, time) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (run, sensor) DO UPDATE SET tier = excluded.tier, reason = excluded.reason, time = excluded.time
		WHERE excluded.time >= time`, run, c.GetSensor(), c.GetTier(), c.GetReason(), t)
}
