// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// Events implements store.Reader.
func (s *Store) Events(ctx context.Context, q store.EventQuery) (*store.EventPage, error) {
	if q.Limit <= 0 {
		return nil, errors.New("query events: EventQuery.Limit must be positive")
	}
	var page *store.EventPage
	err := s.read(ctx, func(c *sqlite.Conn) (err error) {
		r := &reader{conn: c, cache: s.cache, maxFiles: s.maxFiles}
		page, err = r.page(ctx, &q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	return page, nil
}

// EventsByID implements store.Reader.
func (s *Store) EventsByID(ctx context.Context, ids []uint64) ([]*spoorv1.Event, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	var evs []*spoorv1.Event
	err := s.read(ctx, func(c *sqlite.Conn) (err error) {
		r := &reader{conn: c, cache: s.cache}
		evs, err = r.byID(slices.Compact(ids))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("events by id: %w", err)
	}
	return evs, nil
}

// firstWindow is how many ids one statement covers at first. Its size doubles until the page is full: an answer that
// is nearby costs little, one that is far away costs few statements, and no statement sorts more than it must.
const firstWindow = 1 << 16

// page looks at ids window by window. Within a window SQLite seeks by whichever entity selects best, which gives no
// order across entities; the window bounds what has to be sorted for it.
func (r *reader) page(ctx context.Context, q *store.EventQuery) (*store.EventPage, error) {
	low, high, err := r.idRange(q)
	if err != nil {
		return nil, err
	}
	page := &store.EventPage{Through: uint64(max(high, 0))}
	if low >= high {
		return page, nil
	}
	sel, err := r.selection(q)
	if err != nil || sel == nil {
		return page, err
	}
	st, _, err := r.conn.PrepareTransient(sel.statement(q.Newest))
	if err != nil {
		return nil, err
	}
	defer st.Finalize() // its error is that of the step before
	var rows []eventRow
	window := int64(firstWindow)
	for low < high && len(rows) <= q.Limit {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		from, to := low, min(high, low+window)
		if q.Newest {
			from, to = max(low, high-window), high
		}
		bind(st, sel.arguments(from, to, q.Limit+1-len(rows)))
		for {
			found, err := st.Step()
			if err != nil {
				return nil, err
			}
			if !found {
				break
			}
			rows = append(rows, scanEvent(st))
		}
		if err := st.Reset(); err != nil {
			return nil, err
		}
		if q.Newest {
			high = from
		} else {
			low = to
		}
		window *= 2
	}
	if page.More = len(rows) > q.Limit; page.More {
		rows = rows[:q.Limit]
		page.Through = uint64(rows[q.Limit-1].id)
	}
	if q.Newest {
		slices.Reverse(rows)
	}
	page.Events = make([]*spoorv1.Event, 0, len(rows))
	for i := range rows {
		ev, err := r.event(&rows[i])
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", rows[i].id, err)
		}
		page.Events = append(page.Events, ev)
	}
	return page, nil
}

// idRange returns the ids (low, high] outside of which nothing can match.
func (r *reader) idRange(q *store.EventQuery) (low, high int64, err error) {
	first, last, err := r.minutes(&q.Period)
	if err != nil {
		return 0, 0, err
	}
	low, high = max(first-1, int64(min(q.AfterID, math.MaxInt64))), last
	if q.ThroughID != 0 {
		high = min(high, int64(min(q.ThroughID, math.MaxInt64)))
	}
	return low, high, nil
}
