// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// Both sides tell of the same connections, so their counts are not added: the larger one is nearer to the truth,
// because a side can miss some but not invent any. Bytes likewise.
const selectEdges = `WITH side AS (
	SELECT edge, side, min(first) AS first, max(last) AS last, sum(opened) AS opened, sum(refused) AS refused,
		sum(timed_out) AS timed_out, sum(bytes_sent) AS sent, sum(bytes_received) AS received
	FROM edge_hour WHERE hour BETWEEN ?1 AND ?2 AND flows > 0 GROUP BY edge, side
), total AS (
	SELECT edge, min(first) AS first, max(last) AS last, max(opened) AS opened, max(refused) AS refused,
		max(timed_out) AS timed_out, max(sent) AS sent, max(received) AS received, min(side) AS lowest, max(side) AS highest
	FROM side GROUP BY edge
)
SELECT e.from_workload, fa.text, e.to_workload, ta.text, tn.text, e.port, e.transport, min(t.first, e.first), t.last,
	t.opened, t.refused, t.timed_out, t.sent, t.received, t.lowest = 0, t.highest = 1
FROM total t JOIN edge e ON e.id = t.edge JOIN string fa ON fa.id = e.from_address JOIN string ta ON ta.id = e.to_address
	JOIN string tn ON tn.id = e.to_name
WHERE t.first < ?3 AND t.last >= ?4`

// Edges implements store.Reader. Counts cover whole hours, the ones in which the interval begins and ends included.
func (s *Store) Edges(ctx context.Context, q store.EdgeQuery) ([]*spoorv1.Edge, error) {
	from, to := store.Between(q.From, q.To)
	statement, args := selectEdges, []any{store.FloorDiv(from, hourNanos), store.FloorDiv(to, hourNanos), to, from}
	if q.Workload != nil {
		c := workloadCondition(q.Workload)
		statement += ` AND EXISTS (SELECT 1 FROM workload w WHERE w.id IN (e.from_workload, e.to_workload) AND ` + c.sql + ")"
		args = append(args, c.args...)
	}
	statement += " ORDER BY t.last DESC, e.id"
	if q.Limit > 0 {
		statement += " LIMIT ?"
		args = append(args, q.Limit)
	}
	var edges []*spoorv1.Edge
	err := s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		return r.each(statement, args, func(st *sqlite.Stmt) error {
			e, err := r.edge(st)
			edges = append(edges, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("query edges: %w", err)
	}
	return edges, nil
}

func (r *reader) edge(st *sqlite.Stmt) (*spoorv1.Edge, error) {
	from, err := r.workload(st.ColumnInt64(0))
	if err != nil {
		return nil, err
	}
	to, err := r.workload(st.ColumnInt64(2))
	if err != nil {
		return nil, err
	}
	return &spoorv1.Edge{
		From:      &spoorv1.Endpoint{Workload: from, Address: st.ColumnText(1)},
		To:        &spoorv1.Endpoint{Workload: to, Address: st.ColumnText(3), DnsName: st.ColumnText(4), Port: uint32(st.ColumnInt64(5))},
		Transport: spoorv1.Transport(st.ColumnInt64(6)), FirstSeen: timestamp(st.ColumnInt64(7)), LastSeen: timestamp(st.ColumnInt64(8)),
		Opened: uint64(st.ColumnInt64(9)), Refused: uint64(st.ColumnInt64(10)), TimedOut: uint64(st.ColumnInt64(11)),
		BytesSent: uint64(st.ColumnInt64(12)), BytesReceived: uint64(st.ColumnInt64(13)),
		SeenByCaller: st.ColumnBool(14), SeenByCalled: st.ColumnBool(15),
	}, nil
}
