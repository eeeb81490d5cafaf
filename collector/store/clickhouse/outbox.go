// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// entry is a notice in an outbox, as JSON. One that is gone stays for a while, so that its number does not come again.
type entry struct {
	Revision int64  `json:"revision"`
	Next     int64  `json:"next"`
	Attempts int    `json:"attempts"`
	Problem  string `json:"problem,omitempty"`
	Memo     []byte `json:"memo,omitempty"`
	Gone     bool   `json:"gone,omitempty"`
}

// goneKept is how long an entry stays that is gone.
const goneKept = 7 * 24 * time.Hour

func (r stored) entry() (e entry, err error) {
	if r.body == nil {
		return e, nil
	}
	if err := json.Unmarshal(r.body, &e); err != nil {
		return e, fmt.Errorf("entry of an outbox: %w", err)
	}
	return e, nil
}

func (e *ledgerRows) entry(key string, in entry, version, txn uint64, expires time.Time) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	e.add(ledgerRow{kind: "outbox", key: key, version: version, txn: txn, expires: expires, time: in.Next, body: body})
	return nil
}

// outboxed is an entry with what it is about.
type outboxed struct {
	entry
	stored
	fingerprint string
}

// outbox returns what is in the outbox of a receiver, the longest due first.
func (s *Store) outbox(ctx context.Context, receiver string) ([]outboxed, error) {
	d, err := s.client.query(ctx, "SELECT key, version, body FROM "+s.ledger()+" FINAL WHERE kind = 'outbox' AND startsWith(key, "+quote(joinKey(receiver, ""))+")")
	if err != nil {
		return nil, err
	}
	var all []outboxed
	for d.more() {
		parts := splitKey(d.text())
		o := outboxed{stored: stored{d.u64(), d.bytes()}, fingerprint: parts[len(parts)-1]}
		if o.entry, err = o.stored.entry(); err != nil {
			return nil, err
		}
		if !o.Gone {
			all = append(all, o)
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Next < all[j].Next })
	return all, d.err
}

// Enrol implements store.Outbox.
func (s *Store) Enrol(ctx context.Context, receiver string, now time.Time) error {
	open, err := s.Findings(ctx, store.FindingQuery{States: []spoorv1.FindingState{
		spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED,
	}})
	if err == nil && len(open) > 0 {
		err = s.change(ctx, nil, func(rows *ledgerRows) error {
			keys := make([]string, len(open))
			for i, f := range open {
				keys[i] = joinKey(receiver, f.GetFingerprint())
			}
			there, err := s.current(ctx, "outbox", keys)
			if err != nil {
				return err
			}
			for _, key := range keys {
				e, err := there[key].entry()
				if err != nil {
					return err
				}
				if e.Revision > 0 && !e.Gone {
					continue
				}
				e = entry{Revision: e.Revision + 1, Next: now.UnixNano()}
				if err := rows.entry(key, e, there[key].version+1, s.newest.txn, time.Time{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("enrol receiver %s: %w", receiver, err)
	}
	return nil
}

// Due implements store.Outbox. Every collector sees the same notices: what is told twice is told in the same words, which receivers put together.
func (s *Store) Due(ctx context.Context, receiver string, now time.Time, limit int) ([]*store.Notice, error) {
	notices, err := s.due(ctx, receiver, now, limit)
	if err != nil {
		return nil, fmt.Errorf("outbox of %s: %w", receiver, err)
	}
	return notices, nil
}

func (s *Store) due(ctx context.Context, receiver string, now time.Time, limit int) ([]*store.Notice, error) {
	all, err := s.outbox(ctx, receiver)
	if err != nil {
		return nil, err
	}
	var keys []string
	for i := range all {
		if all[i].Next > now.UnixNano() || i == limit {
			all = all[:i]
			break
		}
		keys = append(keys, all[i].fingerprint)
	}
	findings, err := s.current(ctx, "finding", keys)
	if err != nil {
		return nil, err
	}
	var notices []*store.Notice
	for _, o := range all {
		row, ok := findings[o.fingerprint]
		if !ok {
			continue
		}
		f := &spoorv1.Finding{}
		if err := proto.Unmarshal(row.body, f); err != nil {
			return nil, err
		}
		notices = append(notices, &store.Notice{Finding: f, Revision: o.Revision, Attempts: o.Attempts, Memo: o.Memo})
	}
	return notices, nil
}

// NextDue implements store.Outbox.
func (s *Store) NextDue(ctx context.Context, receiver string) (time.Time, bool, error) {
	all, err := s.outbox(ctx, receiver)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("outbox of %s: %w", receiver, err)
	}
	if len(all) == 0 {
		return time.Time{}, false, nil
	}
	return time.Unix(0, all[0].Next), true, nil
}

// Settle implements store.Outbox.
func (s *Store) Settle(ctx context.Context, receiver string, outcomes []store.Outcome) error {
	err := s.change(ctx, nil, func(rows *ledgerRows) error {
		keys := make([]string, len(outcomes))
		for i, o := range outcomes {
			keys[i] = joinKey(receiver, o.Fingerprint)
		}
		there, err := s.current(ctx, "outbox", keys)
		if err != nil {
			return err
		}
		for i, o := range outcomes {
			row, ok := there[keys[i]]
			e, err := row.entry()
			if err != nil {
				return err
			}
			if !ok || e.Gone {
				continue
			}
			// Where the finding changed meanwhile the memo still counts, the rest does not.
			e.Memo, e.Problem = o.Memo, o.Problem
			var expires time.Time
			if e.Revision == o.Revision {
				e.Next = o.Next.UnixNano()
				e.Attempts++
				if !o.Failed {
					e.Attempts = 0
				}
				if o.Done {
					e = entry{Revision: e.Revision, Gone: true}
					expires = time.Now().Add(goneKept)
				}
			}
			row.version++
			if err := rows.entry(keys[i], e, row.version, s.newest.txn, expires); err != nil {
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
	entries, err := s.outbox(ctx, receiver)
	if err != nil {
		return 0, 0, fmt.Errorf("outbox of %s: %w", receiver, err)
	}
	for _, e := range entries {
		if e.Attempts > 0 {
			failing++
		}
	}
	return len(entries), failing, nil
}
