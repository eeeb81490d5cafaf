// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"strconv"

	"zombiezen.com/go/sqlite"
)

const (
	// leastSlack is how much of a file may be free in any case; a fifth of it may, too: what forgetting makes free, the next events take.
	leastSlack = 64 << 20
	slackShare = 5
	// givenAtOnce pages are moved by one transaction: some 20 ms during which batches wait.
	givenAtOnce = 500
)

// pages of the database in one snapshot.
type pages struct {
	size      int64 // bytes of one
	all, free int64
}

func (p pages) used() int64 { return (p.all - p.free) * p.size }

func (r *reader) pages() (p pages, err error) {
	for _, q := range []struct {
		pragma string
		into   *int64
	}{{"page_size", &p.size}, {"page_count", &p.all}, {"freelist_count", &p.free}} {
		if *q.into, err = r.integer("PRAGMA " + q.pragma); err != nil {
			return pages{}, err
		}
	}
	return p, nil
}

func (s *Store) pages(ctx context.Context) (p pages, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		p, err = (&reader{conn: c, cache: s.cache}).pages()
		return err
	})
	return p, err
}

// slack is how many free pages there are beyond what the file may keep.
func slack(p pages) int64 { return p.free - max(leastSlack/p.size, p.all/slackShare) }

// giveBack makes the file smaller by so many free pages as excess says, as far as there are, moving others into their place. In files
// that were made before the store could do that there is no way to, and nothing happens.
func (s *Store) giveBack(ctx context.Context, excess func(pages) int64) error {
	for last := int64(-1); ; {
		p, err := s.pages(ctx)
		if err != nil {
			return unlessEnded(ctx, err)
		}
		n := min(excess(p), p.free)
		if n <= 0 || p.all == last {
			return nil
		}
		last = p.all
		err = s.change(ctx, func(w *writer) error {
			return pragmas(w.conn, "incremental_vacuum("+strconv.FormatInt(min(n, givenAtOnce), 10)+")")
		})
		if err != nil {
			return unlessEnded(ctx, err)
		}
	}
}

// unlessEnded is err, unless it comes of the end of ctx.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
