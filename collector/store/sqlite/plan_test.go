// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/storetest"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// TestPlans holds how events are found: by the entity that selects best, and within it only the ids asked for. A plan
// that scans is still right, and a thousand times slower on ten million events.
func TestPlans(t *testing.T) {
	s := empty(t)
	if err := s.Write(t.Context(), &store.Write{}); err != nil {
		t.Fatal(err)
	}
	err := s.change(t.Context(), func(w *writer) error {
		return w.do(`INSERT INTO process (instance, node, exec_id, parent_exec_id, tgid, parent_tgid, comm, exe, args, context, digest, first_event)
			VALUES (1, 1, 'x', '', 1, 1, 0, 0, '', 1, 0, 1)`)
	})
	if err == nil {
		err = s.Write(t.Context(), &store.Write{Runs: []store.Hello{{Run: store.Run{Node: "n", Epoch: "e"}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	byIDs := "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
	for name, c := range map[string]struct {
		q     store.EventQuery
		want  []string
		files int
	}{
		"nothing": {store.EventQuery{}, []string{byIDs}, 0},
		"time":    {store.EventQuery{Period: store.Period{From: time.Unix(1, 0)}}, []string{byIDs}, 0},
		"time by clocks": {store.EventQuery{Workload: &store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "a"}, Period: store.Period{
			From: time.Unix(1, 0), Clocks: []store.Clock{{Run: store.Run{Node: "n", Epoch: "e"}, Ahead: time.Hour}},
		}}, []string{"SEARCH event USING INDEX event_instance (instance=? AND rowid>? AND rowid<?)", "SEARCH clock USING AUTOMATIC"}, 0},
		"node":     {store.EventQuery{Node: "n"}, []string{byIDs}, 0},
		"workload": {store.EventQuery{Workload: &store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "a"}}, []string{"SEARCH event USING INDEX event_instance (instance=? AND rowid>? AND rowid<?)"}, 0},
		"process":  {store.EventQuery{ExecID: "x"}, []string{"SEARCH event USING INDEX event_instance (instance=? AND rowid>? AND rowid<?)"}, 0},
		"address":  {store.EventQuery{Address: "10.0.0.1"}, []string{"SEARCH event USING INDEX event_peer (peer=? AND rowid>? AND rowid<?)"}, 0},
		"path": {store.EventQuery{PathPrefix: "/tmp"}, []string{
			"SEARCH event USING INDEX event_file (file=? AND rowid>? AND rowid<?)", "SEARCH event USING INDEX event_target (other=? AND rowid>? AND rowid<?)",
		}, maxFiles},
		"wide path": {store.EventQuery{PathPrefix: "/"}, []string{byIDs}, -1},
		"path of a workload": {store.EventQuery{PathPrefix: "/tmp", Workload: &store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "a"}}, []string{
			"SEARCH event USING INDEX event_file (file=? AND rowid>? AND rowid<?)",
		}, maxFiles},
		"rare kind":   {store.EventQuery{Kinds: []store.Kind{store.KindLoss}}, []string{"SEARCH event USING INDEX event_rare (id>? AND id<?)"}, 0},
		"common kind": {store.EventQuery{Kinds: []store.Kind{store.KindFlow}}, []string{byIDs}, 0},
	} {
		err := s.read(t.Context(), func(conn *sqlite.Conn) error {
			r := &reader{conn: conn, cache: s.cache, maxFiles: c.files}
			sel, err := r.selection(&c.q)
			if err != nil {
				return err
			}
			var plan []string
			err = sqlitex.ExecuteTransient(conn, "EXPLAIN QUERY PLAN "+sel.statement(false), &sqlitex.ExecOptions{
				Args:       anyInts(sel.arguments(0, 10, 10)),
				ResultFunc: func(st *sqlite.Stmt) error { plan = append(plan, st.ColumnText(3)); return nil },
			})
			if err != nil {
				return err
			}
			text := strings.Join(plan, "\n")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s: the plan lacks %q:\n%s", name, want, text)
				}
			}
			if strings.Contains(text, "SCAN event") {
				t.Errorf("%s: the plan scans:\n%s", name, text)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// anyInts makes int64 of the integers, which is what ExecOptions takes.
func anyInts(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if n, ok := a.(int); ok {
			a = int64(n)
		}
		out[i] = a
	}
	return out
}

// TestWidePrefixes: a prefix of many files is searched in another way, with the same answers.
func TestWidePrefixes(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		s, err := Open(Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s.maxFiles = 1
		return s
	}, "Filters")
}
