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

// LastID implements store.Reader.
func (s *Store) LastID(ctx context.Context) (uint64, error) {
	d, err := s.client.query(ctx, "SELECT max(last) FROM "+s.ledger()+" WHERE kind IN ('last', 'begin')")
	if err != nil {
		return 0, fmt.Errorf("last event id: %w", err)
	}
	id := d.u64()
	if d.err != nil {
		return 0, fmt.Errorf("last event id: %w", d.err)
	}
	return id, nil
}

// Gaps implements store.Reader.
func (s *Store) Gaps(ctx context.Context, p store.Period) ([]store.Gap, error) {
	gaps, err := s.losses(ctx, &p)
	if err == nil {
		gaps, err = s.jumps(ctx, gaps, &p)
	}
	if err != nil {
		return nil, fmt.Errorf("query gaps: %w", err)
	}
	return gaps, nil
}

// losses are what agents say themselves.
func (s *Store) losses(ctx context.Context, p *store.Period) ([]store.Gap, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	at := corrected(p, eventRun)
	d, err := s.client.query(ctx, "SELECT cluster, node, max("+at+`), source, reason, sum(numbers[1]), bitTest(has, 2) AS known,
		workload_cluster, workload_namespace, workload_kind, workload_name
		FROM `+s.layout.table("event")+" WHERE "+v.condition()+fmt.Sprintf(" AND kind = %d", store.KindLoss)+during(p, at)+`
		GROUP BY cluster, node, source, reason, known, workload_cluster, workload_namespace, workload_kind, workload_name
		ORDER BY cluster, node, source, reason`)
	if err != nil {
		return nil, err
	}
	var gaps []store.Gap
	for d.more() {
		g := store.Gap{Cluster: d.text(), Node: d.text(), Time: time.Unix(0, d.i64()), Source: d.text(), Reason: d.text(), Count: d.u64()}
		known := d.flag()
		w := &spoorv1.Workload{Cluster: d.text(), Namespace: d.text(), Kind: d.text(), Name: d.text()}
		if known {
			g.Workload = w
		}
		gaps = append(gaps, g)
	}
	return gaps, d.err
}

// jumps are events that were numbered and never came.
func (s *Store) jumps(ctx context.Context, gaps []store.Gap, p *store.Period) ([]store.Gap, error) {
	first := func(parts int) string {
		return fmt.Sprintf(`arrayStringConcat(arraySlice(splitByChar('\0', key), 1, %d), '\0')`, parts)
	}
	at := corrected(p, first(3))
	d, err := s.client.query(ctx, "SELECT "+first(2)+" AS node, max("+at+"), sum(last - first + 1) FROM "+s.ledger()+
		" FINAL WHERE kind = 'gap'"+during(p, at)+" GROUP BY node ORDER BY node")
	if err != nil {
		return nil, err
	}
	for d.more() {
		parts := splitKey(d.text())
		g := store.Gap{Cluster: parts[0], Node: parts[len(parts)-1], Time: time.Unix(0, d.i64()), Source: store.SourceSequence, Reason: "missing", Count: d.u64()}
		gaps = append(gaps, g)
	}
	return gaps, d.err
}

// lost is what is known of forgotten events, as JSON.
type lost struct {
	Events uint64 `json:"events"`
	Before int64  `json:"before"`
	At     int64  `json:"at"`
	// The highest id among them.
	Through uint64 `json:"through"`
}

// Stats implements store.Reader. Of a cluster the bytes are those of the server that answers.
func (s *Store) Stats(ctx context.Context) (*store.Stats, error) {
	stats, err := s.stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("store statistics: %w", err)
	}
	return stats, nil
}

func (s *Store) stats(ctx context.Context) (*store.Stats, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	d, err := s.client.query(ctx, "SELECT count(), min(time) FROM "+s.layout.table("event")+" WHERE "+v.condition())
	if err != nil {
		return nil, err
	}
	stats := &store.Stats{Events: d.u64()}
	if oldest := d.i64(); stats.Events > 0 {
		stats.Oldest = time.Unix(0, oldest)
	}
	if d.err != nil {
		return nil, d.err
	}
	if stats.Bytes, stats.Used, err = s.bytes(ctx); err != nil {
		return nil, err
	}
	if d, err = s.client.query(ctx, "SELECT key, body FROM "+s.ledger()+" FINAL WHERE kind = 'forgotten' ORDER BY key"); err != nil {
		return nil, err
	}
	for d.more() {
		f := store.Forgotten{Reason: d.text()}
		var g lost
		if err := json.Unmarshal(d.bytes(), &g); err != nil {
			return nil, err
		}
		f.Events, f.Before, f.At = g.Events, time.Unix(0, g.Before), time.Unix(0, g.At)
		stats.Forgotten = append(stats.Forgotten, f)
	}
	return stats, d.err
}

// bytes on disk, and those of parts that hold something: others were merged, and go within minutes.
func (s *Store) bytes(ctx context.Context) (all, used uint64, err error) {
	d, err := s.client.query(ctx, "SELECT sum(bytes_on_disk), sumIf(bytes_on_disk, active) FROM system.parts WHERE database = "+quote(s.layout.database))
	if err != nil {
		return 0, 0, err
	}
	all, used = d.u64(), d.u64()
	return all, used, d.err
}
