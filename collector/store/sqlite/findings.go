// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"zombiezen.com/go/sqlite"
)

// finding keeps the whole message and, beside it, what is searched and shown in SQL.
func (w *writer) finding(in *store.FindingChange, receivers []string) error {
	f := in.Finding
	workload, err := w.workload(f.GetWorkload())
	if err != nil {
		return err
	}
	first, err := nanos(f.GetFirstSeen())
	if err != nil {
		return err
	}
	last, err := nanos(f.GetLastSeen())
	if err != nil {
		return err
	}
	changed, err := nanos(f.GetStateChanged())
	if err != nil {
		return err
	}
	body, err := proto.Marshal(f)
	if err != nil {
		return err
	}
	if err := w.do(`INSERT OR REPLACE INTO finding (fingerprint, rule, severity, workload, state, subject, title, contract,
		first_seen, last_seen, state_changed, count, note, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		f.GetFingerprint(), f.GetRule(), int32(f.GetSeverity()), null(workload), int32(f.GetState()), f.GetSubject(), f.GetTitle(),
		f.GetContract(), first, last, changed, f.GetCount(), f.GetNote(), body); err != nil {
		return err
	}
	if !in.Notify {
		return nil
	}
	for _, receiver := range receivers {
		if err := w.do(`INSERT INTO outbox (receiver, fingerprint, revision, next_attempt, attempts, problem) VALUES (?, ?, 1, 0, 0, '')
			ON CONFLICT (receiver, fingerprint) DO UPDATE SET revision = revision + 1, next_attempt = 0, attempts = 0`,
			receiver, f.GetFingerprint()); err != nil {
			return err
		}
	}
	return nil
}

func columnFinding(st *sqlite.Stmt, col int) (*spoorv1.Finding, error) {
	f := &spoorv1.Finding{}
	if err := proto.Unmarshal(columnBytes(st, col), f); err != nil {
		return nil, fmt.Errorf("finding: %w", err)
	}
	return f, nil
}

// Findings implements store.Reader.
func (s *Store) Findings(ctx context.Context, q store.FindingQuery) ([]*spoorv1.Finding, error) {
	statement, args := "SELECT f.body FROM finding f WHERE TRUE", []any(nil)
	if len(q.States) > 0 {
		mask := int64(0)
		for _, state := range q.States {
			mask |= 1 << (state & 63)
		}
		statement += " AND (1 << f.state) & ? <> 0"
		args = append(args, mask)
	}
	if q.Rule != "" {
		statement += " AND f.rule = ?"
		args = append(args, q.Rule)
	}
	if q.Workload != nil {
		c := workloadCondition(q.Workload)
		statement += " AND EXISTS (SELECT 1 FROM workload w WHERE w.id = f.workload AND " + c.sql + ")"
		args = append(args, c.args...)
	}
	statement += " ORDER BY f.last_seen DESC, f.fingerprint"
	if q.Limit > 0 {
		statement += " LIMIT ?"
		args = append(args, q.Limit)
	}
	return s.selectFindings(ctx, statement, args)
}

func (s *Store) selectFindings(ctx context.Context, statement string, args []any) ([]*spoorv1.Finding, error) {
	var all []*spoorv1.Finding
	err := s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		return r.each(statement, args, func(st *sqlite.Stmt) error {
			f, err := columnFinding(st, 0)
			all = append(all, f)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("query findings: %w", err)
	}
	return all, nil
}

// Finding implements store.Reader.
func (s *Store) Finding(ctx context.Context, fingerprint string) (*spoorv1.Finding, error) {
	all, err := s.selectFindings(ctx, "SELECT body FROM finding WHERE fingerprint = ?", []any{fingerprint})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("finding %s: %w", fingerprint, store.ErrNotFound)
	}
	return all[0], nil
}

// FindingIDs implements store.Reader.
func (s *Store) FindingIDs(ctx context.Context, prefix string, limit int) ([]store.FindingID, error) {
	all, err := s.selectFindings(ctx, "SELECT body FROM finding WHERE fingerprint >= ? AND fingerprint < ? ORDER BY fingerprint LIMIT ?",
		[]any{prefix, prefixEnd(prefix), limit})
	if err != nil {
		return nil, err
	}
	ids := make([]store.FindingID, len(all))
	for i, f := range all {
		ids[i] = store.FindingID{ID: f.GetId(), Fingerprint: f.GetFingerprint()}
	}
	return ids, nil
}

// Enrol implements store.Outbox.
func (s *Store) Enrol(ctx context.Context, receiver string, now time.Time) error {
	err := s.change(ctx, func(w *writer) error {
		return w.do(`INSERT OR IGNORE INTO outbox (receiver, fingerprint, revision, next_attempt, attempts, problem)
			SELECT ?, fingerprint, 1, ?, 0, '' FROM finding WHERE state IN (?, ?)`, receiver, now.UnixNano(),
			int32(spoorv1.FindingState_FINDING_STATE_OPEN), int32(spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED))
	})
	if err != nil {
		return fmt.Errorf("enrol receiver %s: %w", receiver, err)
	}
	return nil
}

// Due implements store.Outbox.
func (s *Store) Due(ctx context.Context, receiver string, now time.Time, limit int) ([]*store.Notice, error) {
	var notices []*store.Notice
	err := s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		return r.each(`SELECT o.revision, o.attempts, o.memo, f.body FROM outbox o JOIN finding f ON f.fingerprint = o.fingerprint
			WHERE o.receiver = ? AND o.next_attempt <= ? ORDER BY o.next_attempt LIMIT ?`, []any{receiver, now.UnixNano(), limit},
			func(st *sqlite.Stmt) error {
				f, err := columnFinding(st, 3)
				notices = append(notices, &store.Notice{
					Finding: f, Revision: st.ColumnInt64(0), Attempts: st.ColumnInt(1), Memo: columnBytes(st, 2),
				})
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("outbox of %s: %w", receiver, err)
	}
	return notices, nil
}

// NextDue implements store.Outbox.
func (s *Store) NextDue(ctx context.Context, receiver string) (next time.Time, found bool, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		return r.each("SELECT next_attempt FROM outbox WHERE receiver = ? ORDER BY next_attempt LIMIT 1", []any{receiver},
			func(st *sqlite.Stmt) error {
				next, found = goTime(st.ColumnInt64(0)), true
				return nil
			})
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("outbox of %s: %w", receiver, err)
	}
	return next, found, nil
}

// Settle implements store.Outbox.
func (s *Store) Settle(ctx context.Context, receiver string, outcomes []store.Outcome) error {
	err := s.change(ctx, func(w *writer) error {
		for _, o := range outcomes {
			failed := int64(0)
			if o.Failed {
				failed = 1
			}
			if o.Done {
				if err := w.do("DELETE FROM outbox WHERE receiver = ? AND fingerprint = ? AND revision = ?", receiver, o.Fingerprint, o.Revision); err != nil {
					return err
				}
			}
			// Where the finding changed meanwhile the memo still counts, the rest does not.
			if err := w.do(`UPDATE outbox SET memo = ?, problem = ?,
				attempts = CASE WHEN revision <> ? THEN attempts WHEN ? THEN attempts + 1 ELSE 0 END,
				next_attempt = CASE WHEN revision = ? THEN ? ELSE next_attempt END
				WHERE receiver = ? AND fingerprint = ?`,
				o.Memo, o.Problem, o.Revision, failed, o.Revision, o.Next.UnixNano(), receiver, o.Fingerprint); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle the outbox of %s: %w", receiver, err)
	}
	return nil
}

// Pending implements store.Outbox.
func (s *Store) Pending(ctx context.Context, receiver string) (all, failing int, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		return r.each("SELECT count(*), count(*) FILTER (WHERE attempts > 0) FROM outbox WHERE receiver = ?", []any{receiver},
			func(st *sqlite.Stmt) error {
				all, failing = st.ColumnInt(0), st.ColumnInt(1)
				return nil
			})
	})
	if err != nil {
		return 0, 0, fmt.Errorf("outbox of %s: %w", receiver, err)
	}
	return all, failing, nil
}
