// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// view is what a reader may see: every event up to through, but for those of transactions that were aborted.
type view struct {
	through uint64
	aborted []uint64
}

// mark grows.
type mark struct{ atomic.Uint64 }

func (m *mark) advance(to uint64) {
	for {
		at := m.Load()
		if to <= at || m.CompareAndSwap(at, to) {
			return
		}
	}
}

// view looks at the ledger. A transaction that is under way hides what has higher ids, too, although some of that may be durable: who follows
// events goes on behind the last one, and would never see what is committed before it later.
func (s *Store) view(ctx context.Context) (*view, error) {
	settled := s.settled.Load()
	from := quote(number(settled + 1))
	d, err := s.client.query(ctx, `SELECT what, txn, first, last FROM (
		SELECT toUInt8(0) AS what, txn, first, last FROM `+s.ledger()+` WHERE kind = 'aborted'
		UNION ALL SELECT toUInt8(1), txn, first, last FROM `+s.ledger()+` WHERE kind = 'outcome' AND key >= `+from+`
		UNION ALL SELECT toUInt8(2), txn, first, last FROM `+s.ledger()+` WHERE kind = 'begin' AND key >= `+from+`) ORDER BY what, txn`)
	if err != nil {
		return nil, err
	}
	v := &view{through: s.settledID.Load()}
	ended := map[uint64]bool{}
	next := settled + 1 // each number must be there: one that is not has not come to this replica yet
	for open := false; d.more(); {
		what, txn, first, last := d.u8(), d.u64(), d.u64(), d.u64()
		switch {
		case what == 0:
			v.aborted = append(v.aborted, txn)
		case what == 1:
			ended[txn] = true
		case open || txn != next:
			open = open || txn > next
		case ended[txn]:
			next++
			v.through = max(v.through, last)
		case first <= last:
			v.through = max(v.through, first-1)
			open = true
		default:
			open = true // without events, but it would have to be known before what comes after it is settled
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	s.settledID.advance(v.through)
	s.settled.advance(next - 1)
	slices.Sort(v.aborted)
	v.aborted = slices.Compact(v.aborted)
	return v, nil
}

// condition keeps to what the view shows.
func (v *view) condition() string { return "id <= " + fmt.Sprint(v.through) + " AND " + v.shown() }

// shown is the same for tables without event ids.
func (v *view) shown() string {
	if len(v.aborted) == 0 {
		return "1"
	}
	list := make([]string, len(v.aborted))
	for i, txn := range v.aborted {
		list[i] = fmt.Sprint(txn)
	}
	return "txn NOT IN (" + strings.Join(list, ", ") + ")"
}
