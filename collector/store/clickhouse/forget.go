// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

const (
	// spare is the share of the limit that is made free when it was reached: one tenth.
	spare = 10
	// leastEvents stay, so that a limit below what the rest of the store takes does not cost all evidence and gain nothing.
	leastEvents = 1000
)

// Forget implements store.Store. Whole days are dropped, which costs nothing; of the rest rows are marked and go when their part is merged.
func (s *Store) Forget(ctx context.Context, before time.Time) (int, error) {
	n, err := s.forget(ctx, store.ForgottenAge, fmt.Sprintf("time < %d", before.UnixNano()), before, func(g *lost) string {
		return fmt.Sprintf("time < %d AND id <= %d", g.Before, g.Through)
	})
	if err == nil && n > 0 {
		err = s.forgetFindings(ctx, before)
	}
	if err = unlessEnded(ctx, err); err != nil {
		return n, fmt.Errorf("forget what is older than %s: %w", before.UTC().Format(time.RFC3339), err)
	}
	return n, nil
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// forget removes events. It is said first what will be missing: at no time is something missing and nobody knows. counted are those of the condition
// that were said to be missing before, but may still be there: another collector, or an earlier life of this one, has not removed them yet.
func (s *Store) forget(ctx context.Context, reason, condition string, before time.Time, counted func(*lost) string) (int, error) {
	n := uint64(0)
	// A claim that all collectors make lets them do this one after the other.
	err := s.change(ctx, []claim{{run: "forget"}}, func(rows *ledgerRows) error {
		v, err := s.view(ctx)
		if err != nil {
			return err
		}
		there, err := s.current(ctx, "forgotten", []string{reason})
		if err != nil {
			return err
		}
		g := lost{}
		fresh := "1"
		if row, ok := there[reason]; ok {
			if err := json.Unmarshal(row.body, &g); err != nil {
				return err
			}
			fresh = "NOT (" + counted(&g) + ")"
		}
		d, err := s.client.query(ctx, "SELECT count(), max(time), max(id) FROM "+s.layout.table("event")+" WHERE "+v.condition()+" AND "+condition+" AND "+fresh)
		if err != nil {
			return err
		}
		n = d.u64()
		newest, through := d.i64(), d.u64()
		if d.err != nil || n == 0 {
			return d.err
		}
		until := before
		if until.IsZero() {
			until = time.Unix(0, newest+1)
		}
		g.Events, g.Before, g.At, g.Through = g.Events+n, max(g.Before, until.UnixNano()), time.Now().UnixNano(), max(g.Through, through)
		body, err := json.Marshal(g)
		if err != nil {
			return err
		}
		rows.add(ledgerRow{kind: "forgotten", key: reason, version: there[reason].version + 1, txn: s.newest.txn, body: body})
		return nil
	})
	if err != nil {
		return 0, err
	}
	v, err := s.view(ctx)
	if err != nil {
		return int(n), err
	}
	return int(n), s.remove(ctx, fmt.Sprintf("id <= %d AND %s", v.through, condition))
}

// remove drops the days of which everything goes, and rewrites the others.
func (s *Store) remove(ctx context.Context, condition string) error {
	d, err := s.client.query(ctx, "SELECT toUInt32(toYYYYMMDD(received)) AS day, countIf("+condition+") AS old, count() AS there FROM "+s.layout.table("event")+
		" GROUP BY day HAVING old > 0 ORDER BY day")
	if err != nil {
		return err
	}
	rest := false
	for d.more() {
		day, old, there := d.u32(), d.u64(), d.u64()
		if old < there {
			rest = true
			continue
		}
		for _, table := range []string{"event", "process"} {
			if err := s.client.exec(ctx, fmt.Sprintf("ALTER TABLE %s%s DROP PARTITION %d", s.layout.local(table), s.layout.onCluster(), day), nil); err != nil {
				return err
			}
		}
	}
	if d.err != nil || !rest {
		return d.err
	}
	return s.client.exec(ctx, "ALTER TABLE "+s.layout.local("event")+s.layout.onCluster()+" DELETE WHERE "+condition, settings{"mutations_sync": "2"})
}

// forgetFindings removes those that are over, and that nobody needs to be told of any more.
func (s *Store) forgetFindings(ctx context.Context, before time.Time) error {
	over, err := s.Findings(ctx, store.FindingQuery{States: []spoorv1.FindingState{
		spoorv1.FindingState_FINDING_STATE_RESOLVED, spoorv1.FindingState_FINDING_STATE_EXPIRED,
	}})
	if err != nil {
		return err
	}
	var keys []string
	for _, f := range over {
		if f.GetStateChanged().AsTime().Before(before) {
			keys = append(keys, f.GetFingerprint())
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return s.client.exec(ctx, "ALTER TABLE "+s.ledger()+s.layout.onCluster()+" DELETE WHERE kind = 'finding' AND key IN ("+quoteAll(keys)+
		") AND key NOT IN (SELECT substring(key, position(key, '\\0') + 1) FROM "+s.ledger()+" WHERE kind = 'outbox' AND NOT JSONExtractBool(body, 'gone'))",
		settings{"mutations_sync": "2"})
}

// Shrink implements store.Store. What a server takes is measured, of events as of everything else; a limit is one of each server of a cluster.
func (s *Store) Shrink(ctx context.Context, limit int64) (gone int, err error) {
	target := limit
	for more := true; more && err == nil; target = limit - limit/spare {
		var n int
		n, more, err = s.shrink(ctx, limit, target)
		gone += n
	}
	if err = unlessEnded(ctx, err); err != nil {
		return gone, fmt.Errorf("shrink the store to %d bytes: %w", limit, err)
	}
	return gone, nil
}

// shrink forgets once as many events as should do, and says whether to look again.
func (s *Store) shrink(ctx context.Context, limit, target int64) (gone int, more bool, err error) {
	_, bytes, err := s.bytes(ctx)
	used := int64(bytes)
	if err != nil || used <= target {
		return 0, false, err
	}
	d, err := s.client.query(ctx, "SELECT count(), min(id), max(id) FROM "+s.layout.table("event"))
	if err != nil {
		return 0, false, err
	}
	events, lowest, highest := d.u64(), d.u64(), d.u64()
	if d.err != nil {
		return 0, false, d.err
	}
	share := float64(used-(limit-limit/spare)) / float64(used)
	bound := lowest + max(1, uint64(float64(highest-lowest+1)*share))
	if highest+1 >= leastEvents {
		bound = min(bound, highest+1-leastEvents)
	}
	if events <= leastEvents || bound <= lowest {
		if used > limit {
			err = fmt.Errorf("%w: they and what is not forgotten with events take %d bytes", store.ErrNotShrunk, used)
		}
		return 0, false, err
	}
	n, err := s.forget(ctx, store.ForgottenSize, fmt.Sprintf("id < %d", bound), time.Time{}, func(g *lost) string {
		return fmt.Sprintf("id <= %d", g.Through)
	})
	return n, n > 0 && ctx.Err() == nil, err
}
