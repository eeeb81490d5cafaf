// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Events implements store.Reader.
func (s *Store) Events(ctx context.Context, q store.EventQuery) (*store.EventPage, error) {
	if q.Limit <= 0 {
		return nil, errors.New("query events: EventQuery.Limit must be positive")
	}
	page, err := s.page(ctx, &q)
	if err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	return page, nil
}

func (s *Store) page(ctx context.Context, q *store.EventQuery) (*store.EventPage, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	if q.ThroughID != 0 {
		v.through = min(v.through, q.ThroughID)
	}
	page := &store.EventPage{Through: v.through}
	if v.through <= q.AfterID {
		return page, nil
	}
	order := "id"
	if q.Newest {
		order = "id DESC"
	}
	evs, err := s.selectEvents(ctx, v.condition()+where(q)+" ORDER BY "+order+fmt.Sprintf(" LIMIT %d", q.Limit+1))
	if err != nil {
		return nil, err
	}
	if page.More = len(evs) > q.Limit; page.More {
		evs = evs[:q.Limit]
		if !q.Newest {
			page.Through = evs[q.Limit-1].GetId()
		}
	}
	if q.Newest {
		slices.Reverse(evs)
	}
	page.Events = evs
	return page, nil
}

// where is a query as conditions.
func where(q *store.EventQuery) string {
	var b strings.Builder
	and := func(format string, args ...any) { fmt.Fprintf(&b, " AND "+format, args...) }
	if q.AfterID > 0 {
		and("id > %d", q.AfterID)
	}
	b.WriteString(during(&q.Period, corrected(&q.Period, eventRun)))
	if len(q.Kinds) > 0 {
		kinds := make([]string, len(q.Kinds))
		for i, k := range q.Kinds {
			kinds[i] = fmt.Sprint(uint8(k))
		}
		and("kind IN (%s)", strings.Join(kinds, ", "))
	}
	if q.Node != "" {
		and("node = %s", quote(q.Node))
	}
	if q.ExecID != "" {
		and("exec_id = %s", quote(q.ExecID))
	}
	if q.PathPrefix != "" {
		and("kind IN (3, 4, 8) AND (startsWith(path, %[1]s) OR startsWith(target_path, %[1]s))", quote(q.PathPrefix))
	}
	if q.Address != "" {
		and("(local_address = %[1]s OR peer_address = %[1]s)", quote(q.Address))
	}
	if p := q.Workload; p != nil {
		and("bitTest(has, 2)")
		for _, part := range []struct{ column, glob string }{
			{"workload_name", p.Name}, {"workload_kind", p.Kind}, {"workload_namespace", p.Namespace}, {"workload_cluster", p.Cluster},
		} {
			switch {
			case part.glob == "*":
			case strings.Contains(part.glob, "*"):
				and("%s LIKE %s", part.column, like(part.glob))
			default:
				and("%s = %s", part.column, quote(part.glob))
			}
		}
	}
	return b.String()
}

// selectEvents returns events with what became known of them later.
func (s *Store) selectEvents(ctx context.Context, condition string) ([]*spoorv1.Event, error) {
	d, err := s.client.query(ctx, "SELECT "+selected+" FROM "+s.layout.table("event")+" WHERE "+condition)
	if err != nil {
		return nil, err
	}
	r := newEventReader()
	var evs []*spoorv1.Event
	flows := map[uint64]*spoorv1.Flow{}
	for d.more() {
		ev, err := r.scan(d)
		if err != nil {
			return nil, err
		}
		evs = append(evs, ev)
		if f := ev.GetFlow(); f.GetPeer() != nil {
			flows[ev.GetId()] = f
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	return evs, s.name(ctx, flows)
}

// maxListed is how many keys a statement lists: servers take statements of 256 KiB.
const maxListed = 5000

// name puts in who is at the other end of flows, where that became known after they were stored.
func (s *Store) name(ctx context.Context, flows map[uint64]*spoorv1.Flow) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(flows)), maxListed) {
		if err := s.nameSome(ctx, flows, ids); err != nil {
			return err
		}
	}
	return nil
}

// nameSome asks for those of the flows with these ids, in their order.
func (s *Store) nameSome(ctx context.Context, flows map[uint64]*spoorv1.Flow, ids []uint64) error {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = quote(number(id))
	}
	d, err := s.client.query(ctx, "SELECT key, body FROM "+s.ledger()+" FINAL WHERE kind = 'name' AND key >= "+keys[0]+" AND key <= "+keys[len(keys)-1]+
		" AND key IN ("+strings.Join(keys, ", ")+")")
	if err != nil {
		return err
	}
	for d.more() {
		var id uint64
		if _, err := fmt.Sscanf(d.text(), "%x", &id); err != nil {
			return fmt.Errorf("name of a flow: %w", err)
		}
		peer := &spoorv1.Endpoint{}
		if err := proto.Unmarshal(d.bytes(), peer); err != nil {
			return fmt.Errorf("name of flow %d: %w", id, err)
		}
		flows[id].Peer.Workload, flows[id].Peer.ExecId = peer.GetWorkload(), peer.GetExecId()
	}
	return d.err
}

// EventsByID implements store.Reader.
func (s *Store) EventsByID(ctx context.Context, ids []uint64) ([]*spoorv1.Event, error) {
	evs, err := s.eventsByID(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("query events by id: %w", err)
	}
	return evs, nil
}

func (s *Store) eventsByID(ctx context.Context, ids []uint64) ([]*spoorv1.Event, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = fmt.Sprint(id)
	}
	return s.selectEvents(ctx, v.condition()+" AND id IN ("+strings.Join(list, ", ")+") ORDER BY id")
}
