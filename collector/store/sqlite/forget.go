// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// forgetStep is how many ids one transaction looks at: some tens of milliseconds during which batches wait.
const forgetStep = 2000

// exitMargin is how much longer a process is kept than its exit: summaries that name it come after it. An event that
// comes later still is read without its process.
const exitMargin = 24 * time.Hour

// sweeps remove entities that no event refers to. The row with the highest number always stays, so that its number
// is not given again: readers keep entities by number.
//
// Strings stay, and so do processes whose exit was never seen: what refers to them is not indexed.
var sweeps = []struct {
	table, condition string
	byExit           bool // the condition takes a time
}{
	{table: "file", condition: `NOT EXISTS (SELECT 1 FROM event WHERE event.file = file.id)
		AND NOT EXISTS (SELECT 1 FROM event WHERE event.kind = 4 AND event.other = file.id)`},
	{table: "peer", condition: "NOT EXISTS (SELECT 1 FROM event WHERE event.peer = peer.id)"},
	{table: "process", condition: "exit_time < ?", byExit: true},
	{table: "party", condition: "exec_id <> '' AND NOT EXISTS (SELECT 1 FROM process WHERE process.exec_id = party.exec_id)"},
	{table: "instance", condition: `NOT EXISTS (SELECT 1 FROM event WHERE event.instance = instance.id)
		AND id NOT IN (SELECT instance FROM process WHERE instance IS NOT NULL)`},
}

// Forget implements store.Store. It goes by ids: everything below the first event that is younger than before. What
// came late, among younger events, goes when its neighbours do.
func (s *Store) Forget(ctx context.Context, before time.Time) (int, error) {
	minute := store.FloorDiv(before.UnixNano(), minuteNanos) * minuteNanos
	f := forgetter{s: s, ctx: ctx, reason: store.ForgottenAge, before: before.UnixNano(), missing: minute, exits: before.Add(-exitMargin).UnixNano()}
	if err := f.run(f.findBound, f.events, f.rollups, f.entities); err != nil {
		return f.gone, fmt.Errorf("forget what is older than %s: %w", before.UTC().Format(time.RFC3339), err)
	}
	if err := s.giveBack(ctx, slack); err != nil {
		return f.gone, fmt.Errorf("give back what the store does not need: %w", err)
	}
	return f.gone, nil
}

type forgetter struct {
	s      *Store
	ctx    context.Context // of one call of Forget or Shrink
	reason string
	bound  int64 // events below it go
	// Times: before are roll-ups and what else has one of its own, missing is before which events are missing from now on, exits are of processes that
	// nothing names any more.
	before, missing, exits int64
	gone                   int
}

// run returns early, without an error, when the context ends.
func (f *forgetter) run(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return unlessEnded(f.ctx, err)
		}
	}
	return nil
}

func (f *forgetter) findBound() error {
	return f.s.change(f.ctx, func(w *writer) error {
		bound, found, err := w.find("SELECT min(first) FROM minute WHERE minute >= ? HAVING count(*) > 0", store.FloorDiv(f.before, minuteNanos))
		if err == nil && !found {
			bound, _, err = w.find("SELECT value + 1 FROM meta WHERE key = 'last_id'")
		}
		f.bound = bound
		return err
	})
}

func (f *forgetter) events() error {
	for more := true; more; {
		n := 0
		err := f.s.change(f.ctx, func(w *writer) error {
			lowest, found, err := w.find("SELECT id FROM event ORDER BY id LIMIT 1")
			if err != nil || !found || lowest >= f.bound {
				more = false
				return err
			}
			if err := w.do("DELETE FROM event WHERE id < ?", min(f.bound, lowest+forgetStep)); err != nil {
				return err
			}
			n = w.conn.Changes()
			if err := w.do("UPDATE meta SET value = value - ? WHERE key = 'events'", n); err != nil {
				return err
			}
			// In the transaction that takes them away: at no time is something missing and nobody knows.
			return w.do(`INSERT INTO forgotten (reason, events, before, at) VALUES (?, ?, ?, ?) ON CONFLICT (reason) DO UPDATE
				SET events = events + excluded.events, before = max(before, excluded.before), at = excluded.at`,
				f.reason, n, f.missing, time.Now().UnixNano())
		})
		if err != nil {
			return err
		}
		f.gone += n
	}
	return nil
}

func (f *forgetter) rollups() error {
	return f.s.change(f.ctx, func(w *writer) error {
		if err := w.do("DELETE FROM minute WHERE last < ?", f.bound); err != nil {
			return err
		}
		if err := w.do("DELETE FROM edge_hour WHERE hour < ?", store.FloorDiv(f.before, hourNanos)); err != nil {
			return err
		}
		// Edges between workloads stay: they say since when. Addresses come and go without end.
		if err := w.do("DELETE FROM edge WHERE (from_workload = 0 OR to_workload = 0) AND id NOT IN (SELECT edge FROM edge_hour) AND id < (SELECT max(id) FROM edge)"); err != nil {
			return err
		}
		if err := w.do("DELETE FROM gap WHERE time < ?", f.before); err != nil {
			return err
		}
		// The latest run of a node stays, for its number and for what is said of the node.
		const old = "FROM run WHERE last_event < ? AND last_seen < ? AND id NOT IN (SELECT max(id) FROM run GROUP BY node)"
		if err := w.do("DELETE FROM coverage WHERE run IN (SELECT id "+old+")", f.bound, f.before); err != nil {
			return err
		}
		if err := w.do("DELETE "+old, f.bound, f.before); err != nil {
			return err
		}
		defer w.forgetIDs()
		return w.do(`DELETE FROM finding WHERE state IN (?, ?) AND state_changed < ?
			AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.fingerprint = finding.fingerprint)`,
			int32(spoorv1.FindingState_FINDING_STATE_RESOLVED), int32(spoorv1.FindingState_FINDING_STATE_EXPIRED), f.before)
	})
}

// entities looks at all of them, which needs an index look-up each, only when events went.
func (f *forgetter) entities() error {
	if f.gone == 0 {
		return nil
	}
	for _, sweep := range sweeps {
		for from, more := int64(0), true; more; from += forgetStep {
			err := f.s.change(f.ctx, func(w *writer) error {
				highest, _, err := w.find("SELECT max(id) FROM " + sweep.table)
				if err != nil {
					return err
				}
				more = from+forgetStep < highest
				args := []any{from, min(from+forgetStep, highest-1)}
				if sweep.byExit {
					args = append(args, f.exits)
				}
				if err := w.do("DELETE FROM "+sweep.table+" WHERE id > ? AND id <= ? AND "+sweep.condition, args...); err != nil {
					return err
				}
				if w.conn.Changes() > 0 {
					w.forgetIDs()
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
