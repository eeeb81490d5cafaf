// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// LastID implements store.Reader.
func (s *Store) LastID(ctx context.Context) (id uint64, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		n, err := r.integer("SELECT value FROM meta WHERE key = 'last_id'")
		id = uint64(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("last event id: %w", err)
	}
	return id, nil
}

// Runs implements store.Reader.
func (s *Store) Runs(ctx context.Context) ([]store.RunStatus, error) {
	var runs []store.RunStatus
	err := s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		at := map[int64]int{}
		err := r.each(`SELECT r.id, n.cluster, n.name, r.epoch, r.boot_id, r.version, r.kernel_release, r.architecture, r.start_time,
			r.last_seen, r.skew, r.acknowledged, r.last_sequence FROM run r JOIN node n ON n.id = r.node
			ORDER BY n.cluster, n.name, r.last_seen, r.id`, nil, func(st *sqlite.Stmt) error {
			at[st.ColumnInt64(0)] = len(runs)
			run := store.RunStatus{
				Hello: store.Hello{
					Run:    store.Run{Cluster: st.ColumnText(1), Node: st.ColumnText(2), Epoch: st.ColumnText(3)},
					BootID: st.ColumnText(4), Version: st.ColumnText(5), KernelRelease: st.ColumnText(6), Architecture: st.ColumnText(7),
					Seen: goTime(st.ColumnInt64(9)),
				},
				Skew: time.Duration(st.ColumnInt64(10)), Acknowledged: uint64(st.ColumnInt64(11)), LastSequence: uint64(st.ColumnInt64(12)),
			}
			if !st.ColumnIsNull(8) {
				run.Start = goTime(st.ColumnInt64(8))
			}
			runs = append(runs, run)
			return nil
		})
		if err != nil {
			return err
		}
		return r.each("SELECT run, sensor, tier, reason FROM coverage ORDER BY run, sensor", nil, func(st *sqlite.Stmt) error {
			i, ok := at[st.ColumnInt64(0)]
			if ok {
				runs[i].Coverage = append(runs[i].Coverage, &spoorv1.Coverage{Sensor: st.ColumnText(1), Tier: st.ColumnText(2), Reason: st.ColumnText(3)})
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("query agents: %w", err)
	}
	return runs, nil
}

// Gaps implements store.Reader.
func (s *Store) Gaps(ctx context.Context, p store.Period) ([]store.Gap, error) {
	var gaps []store.Gap
	err := s.read(ctx, func(c *sqlite.Conn) (err error) {
		r := &reader{conn: c, cache: s.cache}
		if gaps, err = r.losses(&p); err != nil {
			return err
		}
		jumps, err := r.jumps(&p)
		gaps = append(gaps, jumps...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("query gaps: %w", err)
	}
	return gaps, nil
}

// losses are what agents say themselves.
func (r *reader) losses(p *store.Period) (gaps []store.Gap, err error) {
	first, last, err := r.minutes(p)
	if err != nil {
		return nil, err
	}
	during, err := r.period(p, "e.time", "e.run")
	if err != nil {
		return nil, err
	}
	statement := "SELECT n.cluster, n.name, max(" + during.time + `), source.text, reason.text, sum(e.c), coalesce(i.workload, 0)
		FROM event e INDEXED BY event_rare JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
		JOIN string source ON source.id = e.a JOIN string reason ON reason.id = e.b LEFT JOIN instance i ON i.id = e.instance` + during.clocks.sql + `
		WHERE e.kind >= 6 AND e.kind = ? AND e.id BETWEEN ? AND ? AND ` + during.bounds.sql + `
		GROUP BY n.id, e.a, e.b, coalesce(i.workload, 0) ORDER BY 1, 2, 4, 5`
	args := slices.Concat(during.clocks.args, []any{int(store.KindLoss), first, last}, during.bounds.args)
	err = r.each(statement, args, func(st *sqlite.Stmt) error {
		g := store.Gap{
			Cluster: st.ColumnText(0), Node: st.ColumnText(1), Time: goTime(st.ColumnInt64(2)),
			Source: st.ColumnText(3), Reason: st.ColumnText(4), Count: uint64(st.ColumnInt64(5)),
		}
		var err error
		g.Workload, err = r.workload(st.ColumnInt64(6))
		gaps = append(gaps, g)
		return err
	})
	return gaps, err
}

// jumps are events that were numbered and never came.
func (r *reader) jumps(p *store.Period) (gaps []store.Gap, err error) {
	during, err := r.period(p, "g.time", "g.run")
	if err != nil {
		return nil, err
	}
	statement := "SELECT n.cluster, n.name, max(" + during.time + `), sum(g.last - g.first + 1) FROM gap g JOIN run r ON r.id = g.run
		JOIN node n ON n.id = r.node` + during.clocks.sql + " WHERE " + during.bounds.sql + " GROUP BY n.id ORDER BY 1, 2"
	err = r.each(statement, slices.Concat(during.clocks.args, during.bounds.args), func(st *sqlite.Stmt) error {
		gaps = append(gaps, store.Gap{
			Cluster: st.ColumnText(0), Node: st.ColumnText(1), Time: goTime(st.ColumnInt64(2)),
			Source: store.SourceSequence, Reason: "missing", Count: uint64(st.ColumnInt64(3)),
		})
		return nil
	})
	return gaps, err
}

// Stats implements store.Reader. Oldest is exact to the minute.
func (s *Store) Stats(ctx context.Context) (*store.Stats, error) {
	stats := &store.Stats{}
	err := s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		n, err := r.integer("SELECT value FROM meta WHERE key = 'events'")
		if err != nil {
			return err
		}
		stats.Events = uint64(n)
		pages, err := r.pages()
		if err != nil {
			return err
		}
		stats.Used = uint64(pages.used())
		err = r.each("SELECT reason, events, before, at FROM forgotten ORDER BY reason", nil, func(st *sqlite.Stmt) error {
			stats.Forgotten = append(stats.Forgotten, store.Forgotten{
				Reason: st.ColumnText(0), Events: uint64(st.ColumnInt64(1)), Before: goTime(st.ColumnInt64(2)), At: goTime(st.ColumnInt64(3)),
			})
			return nil
		})
		if err != nil {
			return err
		}
		return r.each("SELECT min(minute) FROM minute", nil, func(st *sqlite.Stmt) error {
			if !st.ColumnIsNull(0) {
				stats.Oldest = goTime(st.ColumnInt64(0) * minuteNanos)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store statistics: %w", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(s.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the log comes and goes
		}
		if err != nil {
			return nil, fmt.Errorf("store statistics: %w", err)
		}
		stats.Bytes += uint64(info.Size())
	}
	return stats, nil
}
