// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// edge is a directed pair of ends with the port that is called. An end is a workload, or else an address.
type edge struct {
	from, to                     workload
	fromAddress, toAddress, name string
	port                         uint32
	transport                    spoorv1.Transport
}

// workload is one that can be compared; known tells no workload from an empty one.
type workload struct {
	known                          bool
	cluster, namespace, kind, name string
}

func ofWorkload(w *spoorv1.Workload) workload {
	return workload{w != nil, w.GetCluster(), w.GetNamespace(), w.GetKind(), w.GetName()}
}

func (w workload) message() *spoorv1.Workload {
	if !w.known {
		return nil
	}
	return &spoorv1.Workload{Cluster: w.cluster, Namespace: w.namespace, Kind: w.kind, Name: w.name}
}

// label is an edge as the ledger has it: a JSON array, of which views take parts.
type label struct {
	From        []string          `json:"from,omitempty"`
	FromAddress string            `json:"from_address,omitempty"`
	To          []string          `json:"to,omitempty"`
	ToAddress   string            `json:"to_address,omitempty"`
	ToName      string            `json:"to_dns_name,omitempty"`
	Port        uint32            `json:"port"`
	Transport   spoorv1.Transport `json:"transport"`
}

func (w workload) parts() []string {
	if !w.known {
		return nil
	}
	return []string{w.cluster, w.namespace, w.kind, w.name}
}

func fromParts(p []string) workload {
	if len(p) != 4 {
		return workload{}
	}
	return workload{true, p[0], p[1], p[2], p[3]}
}

func (e *edge) label() (string, error) {
	b, err := json.Marshal(label{e.from.parts(), e.fromAddress, e.to.parts(), e.toAddress, e.name, e.port, e.transport})
	return string(b), err
}

// Sides of an hour.
const (
	caller = 0
	called = 1
)

type hourKey struct {
	edge edge
	hour int64
	side uint8
}

// hourChange is what a flow adds to an hour of an edge, or takes away.
type hourChange struct {
	key         hourKey
	first, last int64
	sums        [6]int64 // flows, opened, refused, timed out, sent, received: the order of views.sql
}

const hourNanos = int64(time.Hour)

// appendFlow adds a flow to the edge that it is of, or with sign -1 takes it away.
func appendFlow(all []hourChange, ev *spoorv1.Event, sign int64) []hourChange {
	f := ev.GetFlow()
	if f.GetLocal() == nil || f.GetPeer() == nil {
		return all
	}
	own, other := ofWorkload(ev.GetInstance().GetWorkload()), ofWorkload(f.GetPeer().GetWorkload())
	sent, received := int64(f.GetBytesSent()), int64(f.GetBytesReceived())
	c := hourChange{key: hourKey{edge: edge{transport: f.GetTransport()}}}
	e := &c.key.edge
	switch f.GetDirection() {
	case spoorv1.Direction_DIRECTION_OUTBOUND:
		c.key.side = caller
		e.from, e.to, e.port = own, other, f.GetPeer().GetPort()
		if !own.known {
			e.fromAddress = f.GetLocal().GetAddress()
		}
		if !other.known {
			e.toAddress, e.name = f.GetPeer().GetAddress(), f.GetPeer().GetDnsName()
		}
	case spoorv1.Direction_DIRECTION_INBOUND:
		c.key.side = called
		e.from, e.to, e.port = other, own, f.GetLocal().GetPort()
		sent, received = received, sent
		if !other.known {
			e.fromAddress = f.GetPeer().GetAddress()
		}
		if !own.known {
			e.toAddress = f.GetLocal().GetAddress()
		}
	default:
		return all
	}
	t := ev.GetTime().AsTime().UnixNano()
	c.key.hour = store.FloorDiv(t, hourNanos)
	c.first, c.last = t, t
	if f.GetFirst() != nil {
		c.first = min(t, f.GetFirst().AsTime().UnixNano())
	}
	if f.GetLast() != nil {
		c.last = max(c.first, f.GetLast().AsTime().UnixNano())
	}
	c.sums = [6]int64{
		sign, sign * int64(f.GetOpened()), sign * int64(f.GetRefused()), sign * int64(f.GetTimedOut()), sign * sent, sign * received,
	}
	return append(all, c)
}

// hours are what this session has added to the hours of edges. A row of the ledger has the sum of one session, and answers add up those of all: so a
// row is written again and never added to, and it does not matter how often.
type hours struct {
	session string
	part    uint64 // a new one after each doubt, since sums begin at 0 again
	sums    *simplelru.LRU[hourKey, *hourSum]
	edges   *simplelru.LRU[edge, int64] // since when
}

type hourSum struct {
	first, last int64
	sums        [6]int64
	part        uint64
}

const (
	cachedHours = 131072
	cachedEdges = 65536
)

func newHours(session string) (*hours, error) {
	h := &hours{session: session}
	var err error
	if h.sums, err = simplelru.NewLRU[hourKey, *hourSum](cachedHours, nil); err != nil {
		return nil, err
	}
	h.edges, err = simplelru.NewLRU[edge, int64](cachedEdges, nil)
	return h, err
}

// forget begins anew: it is not known what is durable.
func (h *hours) forget() {
	h.sums.Purge()
	h.edges.Purge()
}

// flush adds changes, and rows for what they changed.
func (h *hours) flush(o *writing, changes []hourChange) error {
	changed := map[hourKey]*hourSum{}
	for i := range changes {
		c := &changes[i]
		sum, ok := h.sums.Get(c.key)
		if !ok {
			// One that gave way in between, or was forgotten, begins at 0 again, and so in a row of its own.
			h.part++
			sum = &hourSum{part: h.part, first: c.first, last: c.last}
			h.sums.Add(c.key, sum)
		}
		if sum.sums[0] == 0 {
			sum.first, sum.last = c.first, c.last
		}
		sum.first, sum.last = min(sum.first, c.first), max(sum.last, c.last)
		for i := range sum.sums {
			sum.sums[i] += c.sums[i]
		}
		changed[c.key] = sum
	}
	since := map[edge]int64{}
	labels := map[edge]string{}
	for key, sum := range changed {
		text, ok := labels[key.edge]
		if !ok {
			var err error
			if text, err = key.edge.label(); err != nil {
				return err
			}
			labels[key.edge] = text
		}
		hour := time.Unix(0, key.hour*hourNanos)
		o.rows.add(ledgerRow{
			kind: "edge_hour", key: hourPrefix(key.hour) + joinKey(text, string('0'+rune(key.side)), h.session, number(sum.part)),
			version: o.txn.txn, expires: o.kept(hour), txn: o.txn.txn, first: uint64(key.side), time: sum.first, until: sum.last, label: text, numbers: sum.sums[:],
		})
		if old, ok := since[key.edge]; !ok || sum.first < old {
			since[key.edge] = sum.first
		}
	}
	for e, first := range since {
		if old, ok := h.edges.Get(e); ok && old <= first {
			continue
		}
		h.edges.Add(e, first)
		// The earliest counts: the lower the time, the higher the version. Edges between workloads stay when events go, since they say since when.
		row := ledgerRow{kind: "edge", key: labels[e], version: ^ordered(first), txn: o.txn.txn, time: first}
		if !e.from.known || !e.to.known {
			row.expires = o.kept(time.Unix(0, first))
		}
		o.rows.add(row)
	}
	return nil
}

// ordered maps times to numbers of the same order.
func ordered(t int64) uint64 { return uint64(t) ^ 1<<63 }

// hourPrefix sorts as hours do.
func hourPrefix(hour int64) string { return number(ordered(hour)) }

// Both sides tell of the same connections, so their counts are not added: the larger one is nearer to the truth, because a side can miss some but not
// invent any. Bytes likewise.
const selectEdges = `SELECT edge, least(min(earliest), any(since)) AS since_when, max(latest) AS until_when,
	max(counts[2]), max(counts[3]), max(counts[4]), max(counts[5]), max(counts[6]), toUInt8(min(side) = 0), toUInt8(max(side) = 1)
FROM (
	SELECT edge, side, min(earliest) AS earliest, max(latest) AS latest, sumForEach(counts) AS counts
	FROM (
		SELECT label AS edge, first AS side, substring(key, 1, 16) AS hour, min(time) AS earliest, max(until) AS latest, sumForEach(numbers) AS counts
		FROM @ledger@ FINAL WHERE kind = 'edge_hour' AND key >= @from@ AND key < @to@
		GROUP BY edge, side, hour HAVING counts[1] > 0
	) GROUP BY edge, side
) AS told
LEFT ANY JOIN (SELECT key AS edge, time AS since FROM @ledger@ FINAL WHERE kind = 'edge') AS known USING (edge)
GROUP BY edge
HAVING min(earliest) < @until@ AND until_when >= @since@
ORDER BY until_when DESC, edge`

// Edges implements store.Reader. Counts cover whole hours, the ones in which the interval begins and ends included.
func (s *Store) Edges(ctx context.Context, q store.EdgeQuery) ([]*spoorv1.Edge, error) {
	from, to := store.Between(q.From, q.To)
	statement := strings.NewReplacer("@ledger@", s.ledger(), "@from@", quote(hourPrefix(store.FloorDiv(from, hourNanos))),
		"@to@", quote(hourPrefix(store.FloorDiv(to, hourNanos)+1)), "@until@", fmt.Sprintf("toInt64(%d)", to), "@since@", fmt.Sprintf("toInt64('%d')", from)).Replace(selectEdges)
	if q.Workload == nil && q.Limit > 0 {
		statement += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	d, err := s.client.query(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("query edges: %w", err)
	}
	var edges []*spoorv1.Edge
	for d.more() && (q.Limit == 0 || len(edges) < q.Limit) {
		e, err := scanEdge(d)
		if err != nil {
			return nil, fmt.Errorf("query edges: %w", err)
		}
		if q.Workload.Match(e.GetFrom().GetWorkload()) || q.Workload.Match(e.GetTo().GetWorkload()) {
			edges = append(edges, e)
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("query edges: %w", d.err)
	}
	return edges, nil
}

func scanEdge(d *decoder) (*spoorv1.Edge, error) {
	var l label
	if err := json.Unmarshal(d.bytes(), &l); err != nil {
		return nil, fmt.Errorf("ends of an edge: %w", err)
	}
	return &spoorv1.Edge{
		From:      &spoorv1.Endpoint{Workload: fromParts(l.From).message(), Address: l.FromAddress},
		To:        &spoorv1.Endpoint{Workload: fromParts(l.To).message(), Address: l.ToAddress, DnsName: l.ToName, Port: l.Port},
		Transport: l.Transport, FirstSeen: timestamp(d.i64()), LastSeen: timestamp(d.i64()),
		Opened: d.u64(), Refused: d.u64(), TimedOut: d.u64(), BytesSent: d.u64(), BytesReceived: d.u64(),
		SeenByCaller: d.flag(), SeenByCalled: d.flag(),
	}, nil
}
