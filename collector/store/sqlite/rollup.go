// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// edgeKey is a directed pair of ends with the port that is called. An end is a workload, or else an address.
type edgeKey struct {
	fromWorkload, fromAddress, toWorkload, toAddress, toName int64
	port                                                     uint32
	transport                                                spoorv1.Transport
}

// Sides of an edge_hour.
const (
	sideCaller = 0
	sideCalled = 1
)

const hourNanos = int64(3600e9)

type rollupKey struct {
	edge edgeKey
	hour int64
	side int
}

// rollupSum is added to an edge_hour. The counts may be negative, when flows move to another edge.
type rollupSum struct {
	first, last                                                int64
	flows, opened, refused, timedOut, bytesSent, bytesReceived int64
}

type rollup map[rollupKey]rollupSum

// addFlow adds a flow to what its edge is told to have carried, or with sign -1 takes it away; other is the workload of its peer.
func (w *writer) addFlow(sums rollup, ev *spoorv1.Event, other, sign int64) error {
	f := ev.GetFlow()
	if f.GetLocal() == nil || f.GetPeer() == nil {
		return nil
	}
	own, err := w.workload(ev.GetInstance().GetWorkload())
	if err != nil {
		return err
	}
	k := rollupKey{edge: edgeKey{transport: f.GetTransport()}}
	e := &k.edge
	sum := rollupSum{
		flows: sign, opened: sign * int64(f.GetOpened()), refused: sign * int64(f.GetRefused()), timedOut: sign * int64(f.GetTimedOut()),
		bytesSent: sign * int64(f.GetBytesSent()), bytesReceived: sign * int64(f.GetBytesReceived()),
	}
	switch f.GetDirection() {
	case spoorv1.Direction_DIRECTION_OUTBOUND:
		k.side = sideCaller
		e.fromWorkload, e.toWorkload, e.port = own, other, f.GetPeer().GetPort()
		if own == 0 {
			if e.fromAddress, err = w.text(f.GetLocal().GetAddress()); err != nil {
				return err
			}
		}
		if other == 0 {
			if e.toAddress, err = w.text(f.GetPeer().GetAddress()); err != nil {
				return err
			}
			if e.toName, err = w.text(f.GetPeer().GetDnsName()); err != nil {
				return err
			}
		}
	case spoorv1.Direction_DIRECTION_INBOUND:
		k.side = sideCalled
		e.fromWorkload, e.toWorkload, e.port = other, own, f.GetLocal().GetPort()
		sum.bytesSent, sum.bytesReceived = sum.bytesReceived, sum.bytesSent
		if other == 0 {
			if e.fromAddress, err = w.text(f.GetPeer().GetAddress()); err != nil {
				return err
			}
		}
		if own == 0 {
			if e.toAddress, err = w.text(f.GetLocal().GetAddress()); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	t := ev.GetTime().AsTime().UnixNano()
	k.hour = store.FloorDiv(t, hourNanos)
	sum.first, sum.last = t, t
	if f.GetFirst() != nil {
		sum.first = min(t, f.GetFirst().AsTime().UnixNano())
	}
	if f.GetLast() != nil {
		sum.last = max(sum.first, f.GetLast().AsTime().UnixNano())
	}
	old, ok := sums[k]
	if !ok {
		sums[k] = sum
		return nil
	}
	sums[k] = rollupSum{
		first: min(old.first, sum.first), last: max(old.last, sum.last), flows: old.flows + sum.flows,
		opened: old.opened + sum.opened, refused: old.refused + sum.refused, timedOut: old.timedOut + sum.timedOut,
		bytesSent: old.bytesSent + sum.bytesSent, bytesReceived: old.bytesReceived + sum.bytesReceived,
	}
	return nil
}

func (w *writer) flushRollup(sums rollup) error {
	for k, s := range sums {
		if err := w.flushEdge(k, s); err != nil {
			return fmt.Errorf("edge: %w", err)
		}
	}
	return nil
}

func (w *writer) flushEdge(k rollupKey, s rollupSum) error {
	edge, err := w.edge(k.edge, s.first)
	if err != nil {
		return err
	}
	if err := w.do(`INSERT INTO edge_hour (hour, edge, side, first, last, flows, opened, refused, timed_out, bytes_sent, bytes_received)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hour, edge, side) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last),
			flows = flows + excluded.flows, opened = opened + excluded.opened, refused = refused + excluded.refused,
			timed_out = timed_out + excluded.timed_out, bytes_sent = bytes_sent + excluded.bytes_sent,
			bytes_received = bytes_received + excluded.bytes_received`,
		k.hour, edge, k.side, s.first, s.last, s.flows, s.opened, s.refused, s.timedOut, s.bytesSent, s.bytesReceived); err != nil {
		return err
	}
	if s.flows <= 0 {
		return w.do("DELETE FROM edge_hour WHERE hour = ? AND edge = ? AND side = ? AND flows <= 0", k.hour, edge, k.side)
	}
	return nil
}

// edge interns an edge that was first seen at t or earlier.
func (w *writer) edge(k edgeKey, t int64) (int64, error) {
	if id, ok := w.ids.edges.Get(k); ok {
		return id, nil
	}
	args := []any{k.fromWorkload, k.fromAddress, k.toWorkload, k.toAddress, k.toName, k.port, int32(k.transport)}
	id, found, err := w.find(`SELECT id FROM edge WHERE from_workload = ? AND from_address = ? AND to_workload = ?
		AND to_address = ? AND to_name = ? AND port = ? AND transport = ?`, args...)
	if err == nil && !found {
		id, err = w.insert(`INSERT INTO edge (from_workload, from_address, to_workload, to_address, to_name, port, transport, first)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, append(args, t)...)
	}
	if err != nil {
		return 0, err
	}
	w.ids.edges.Add(k, id)
	return id, nil
}
