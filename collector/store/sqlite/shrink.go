// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

const (
	// spare is the share of the limit that is made free when it was reached: one tenth.
	spare = 10
	// leastEvents stay, so that a limit below what the rest of the store takes does not cost all evidence and gain nothing.
	leastEvents = 1000
	// shrinkExitMargin is exitMargin when room is short: processes must not take what is meant for events.
	shrinkExitMargin = time.Hour
)

// Shrink implements store.Store. What counts is pages that are in use, which forgetting changes at once; the file follows as far
// as it is larger than the limit.
func (s *Store) Shrink(ctx context.Context, limit int64) (gone int, err error) {
	target := limit
	for more := true; more && err == nil; target = limit - limit/spare {
		var n int
		n, more, err = s.shrink(ctx, limit, target)
		gone += n
	}
	if err == nil {
		err = s.giveBack(ctx, func(p pages) int64 { return p.all - limit/p.size })
	}
	if err = unlessEnded(ctx, err); err != nil {
		return gone, fmt.Errorf("shrink the store to %d bytes: %w", limit, err)
	}
	return gone, nil
}

// shrink forgets once as many events as should do, and says whether to look again.
func (s *Store) shrink(ctx context.Context, limit, target int64) (gone int, more bool, err error) {
	p, err := s.pages(ctx)
	used := p.used()
	if err != nil || used <= target {
		return 0, false, err
	}
	f := forgetter{s: s, ctx: ctx, reason: store.ForgottenSize}
	found, err := f.findShare(float64(used-(limit-limit/spare)) / float64(used))
	if err != nil {
		return 0, false, err
	}
	if !found {
		if used > limit {
			err = fmt.Errorf("%w: they and what is not forgotten with events take %d bytes", store.ErrNotShrunk, used)
		}
		return 0, false, err
	}
	err = f.run(f.events, f.rollups, f.entities)
	return f.gone, f.gone > 0 && ctx.Err() == nil, err
}

// findShare chooses the oldest events by their ids, which grow as events come, and not by their times: an agent whose clock is
// ahead must not keep everything that came after it.
func (f *forgetter) findShare(share float64) (found bool, err error) {
	err = f.s.read(f.ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: f.s.cache}
		lowest, err := r.integer("SELECT min(id) FROM event")
		if err != nil {
			return err
		}
		// Ids have no holes to speak of: they are given one after the other, and go from the low end.
		highest, err := r.integer("SELECT max(id) FROM event")
		if err != nil {
			return err
		}
		f.bound = min(lowest+max(1, int64(float64(highest-lowest+1)*share)), highest+1-leastEvents)
		if found = f.bound > lowest; !found {
			return nil
		}
		oldest, err := r.integer("SELECT min(minute) FROM minute WHERE last >= ?", f.bound)
		if err != nil {
			return err
		}
		newest, err := r.integer("SELECT max(minute) FROM minute WHERE first < ?", f.bound)
		f.before = oldest * minuteNanos
		f.missing = (newest + 1) * minuteNanos
		f.exits = f.before - int64(shrinkExitMargin)
		return err
	})
	return found, err
}
