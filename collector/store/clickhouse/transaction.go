// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spoor/spoor/collector/store"
)

const (
	// overdue is how long a transaction may be under way before anybody may abort it: its collector is gone, or as good as gone.
	overdue = 15 * time.Second
	// appear is how long a row that was inserted at another replica may take to come to this one.
	appear = 30 * time.Second
)

// errFenced: somebody else has ended a transaction of ours, because it took too long, or because an agent went there with what it has.
var errFenced = errors.New("another collector has ended this transaction: what it had is read again")

// begin takes the next number. Numbers are given by the ledger: of several inserts that want to be transaction n, one is taken, and all read which.
// So there is an order that all agree on, and ids that nobody else has, without a lock that a dead collector could hold.
//
// Who calls it puts the transaction into s.active as long as it works on it.
func (s *Store) begin(ctx context.Context, claims []claim, events uint64) (*transaction, error) {
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	for {
		// What is known may be old: then somebody else has the number, and what came meanwhile is learned while that is found out.
		t := &transaction{
			txn: s.newest.txn + 1, first: s.newest.id + 1, last: s.newest.id + events, owner: s.session, begun: time.Now(), batches: claims,
		}
		rows := &ledgerRows{}
		rows.add(ledgerRow{
			kind: "begin", key: number(t.txn), expires: s.kept(t.begun), txn: t.txn, first: t.first, last: t.last, label: t.owner,
			time: t.begun.UnixNano(), body: encodeClaims(claims),
		})
		if err := s.insertLedger(ctx, "begin/"+number(t.txn), rows); err != nil {
			return nil, fmt.Errorf("begin a transaction: %w", err)
		}
		if err := s.appeared(ctx, t.txn); err != nil {
			return nil, err
		}
		if s.underway[t.txn] != nil && s.underway[t.txn].owner == s.session {
			return t, s.settle(ctx, t)
		}
	}
}

// newest is the last transaction that is known, and the highest event id that it was given.
type newest struct{ txn, id uint64 }

// catchUp learns which transactions were begun and which have ended.
func (s *Store) catchUp(ctx context.Context) error {
	if err := s.sync(ctx); err != nil {
		return err
	}
	from := s.newest.txn + 1
	for txn := range s.underway {
		from = min(from, txn)
	}
	all, err := s.tail(ctx, from)
	if err != nil {
		return err
	}
	for i := range all {
		t := &all[i]
		if t.txn > s.newest.txn+1 {
			break // what is before it has not come to this replica yet
		}
		if t.txn == s.newest.txn+1 {
			s.newest.txn, s.newest.id = t.txn, max(s.newest.id, t.last)
			s.underway[t.txn] = t
		}
		if t.outcome == "" {
			continue
		}
		delete(s.underway, t.txn)
		if t.outcome == committed && t.owner != s.session {
			for _, c := range t.batches {
				s.runs.Remove(c.run) // it is read again
			}
		}
	}
	return nil
}

// sync has a replica that was not asked before fetch what others have.
func (s *Store) sync(ctx context.Context) error {
	for s.layout.cluster != "" && s.synced != s.client.current.Load() {
		at := s.client.current.Load()
		if err := s.client.exec(ctx, "SYSTEM SYNC REPLICA "+s.ledger(), nil); err != nil {
			return fmt.Errorf("bring a replica up to date: %w", err)
		}
		s.synced = at
	}
	return nil
}

// appeared waits until a transaction that somebody has begun is known here.
func (s *Store) appeared(ctx context.Context, txn uint64) error {
	return s.wait(ctx, fmt.Sprintf("transaction %d", txn), func() (bool, error) {
		err := s.catchUp(ctx)
		return s.newest.txn >= txn, err
	})
}

// wait polls for a row that must come.
func (s *Store) wait(ctx context.Context, what string, is func() (bool, error)) error {
	pause := time.Millisecond
	for deadline := time.Now().Add(appear); ; {
		ok, err := is()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was stored at another replica and has not come to this one within %v: look at system.replicas", what, appear)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, 200*time.Millisecond)
	}
}

// settle ends what is under way and in the way of t: whatever has a batch of the same run, since it must be known whether that is durable; and
// what is overdue.
func (s *Store) settle(ctx context.Context, t *transaction) error {
	mine := map[string]bool{}
	for _, c := range t.batches {
		mine[c.run] = true
	}
	for txn, other := range s.underway {
		if txn >= t.txn {
			continue
		}
		// What is ours and not at work has failed.
		failed := other.owner == s.session && !s.active[txn]
		conflict := slices.ContainsFunc(other.batches, func(c claim) bool { return mine[c.run] })
		if !failed && !conflict && time.Since(other.begun) < overdue {
			continue
		}
		outcome, err := s.abort(ctx, other)
		if err != nil {
			return err
		}
		if outcome == committed {
			for _, c := range other.batches {
				s.runs.Remove(c.run)
			}
		}
		delete(s.underway, txn)
	}
	return nil
}

// abort ends a transaction, unless it has committed already, and says which.
func (s *Store) abort(ctx context.Context, t *transaction) (outcome string, err error) {
	rows := &ledgerRows{}
	rows.add(ledgerRow{kind: "outcome", key: number(t.txn), expires: s.outcomeKept(), txn: t.txn, first: t.first, last: t.last, label: aborted})
	rows.add(ledgerRow{kind: "aborted", key: number(t.txn), expires: s.outcomeKept(), txn: t.txn, first: t.first, last: t.last, label: t.owner})
	return s.end(ctx, t, rows)
}

// end writes the outcome of a transaction and says what it is: the first that was written.
func (s *Store) end(ctx context.Context, t *transaction, rows *ledgerRows) (outcome string, err error) {
	if err := s.insertLedger(ctx, "outcome/"+number(t.txn), rows); err != nil {
		return "", fmt.Errorf("end a transaction: %w", err)
	}
	err = s.wait(ctx, fmt.Sprintf("the outcome of transaction %d", t.txn), func() (bool, error) {
		d, err := s.client.query(ctx, "SELECT label FROM "+s.ledger()+" WHERE kind = 'outcome' AND key = "+quote(number(t.txn))+" LIMIT 1")
		if err != nil {
			return false, err
		}
		outcome = d.text()
		return d.err == nil, nil
	})
	return outcome, err
}

// kept is when what belongs to events of a time expires with them.
func (s *Store) kept(t time.Time) time.Time {
	if s.layout.days == 0 {
		return time.Time{}
	}
	return t.Add(time.Duration(s.layout.days+1) * 24 * time.Hour)
}

// outcomeKept is longer than the beginning of a transaction is kept: one that had begun and not ended would count for nothing.
func (s *Store) outcomeKept() time.Time {
	if s.layout.days == 0 {
		return time.Time{}
	}
	return s.kept(time.Now()).Add(48 * time.Hour)
}

// commit makes rows durable with what the transaction has put elsewhere.
func (s *Store) commit(ctx context.Context, t *transaction, rows *ledgerRows) error {
	rows.add(ledgerRow{kind: "outcome", key: number(t.txn), expires: s.outcomeKept(), txn: t.txn, first: t.first, last: t.last, label: committed})
	rows.add(ledgerRow{kind: "last", version: t.txn, txn: t.txn, first: t.first, last: t.last})
	outcome, err := s.end(ctx, t, rows)
	if err != nil {
		return err
	}
	delete(s.underway, t.txn)
	if outcome != committed {
		return errFenced
	}
	return nil
}

// runKey is a run as the ledger's key.
func runKey(r store.Run) string { return joinKey(r.Cluster, r.Node, r.Epoch) }

// joinKey makes one string of several that may have any bytes, in an order that goes by the first.
func joinKey(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = strings.NewReplacer("\x01", "\x01\x02", "\x00", "\x01\x01").Replace(p)
	}
	return strings.Join(escaped, "\x00")
}

func splitKey(key string) []string {
	parts := strings.Split(key, "\x00")
	for i, p := range parts {
		parts[i] = strings.NewReplacer("\x01\x02", "\x01", "\x01\x01", "\x00").Replace(p)
	}
	return parts
}
