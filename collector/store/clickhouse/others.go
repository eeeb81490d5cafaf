// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spoor/spoor/collector/store"
)

// Others implements store.Shared.
func (s *Store) Others(ctx context.Context, after uint64, limit int) (batches []store.Batch, through uint64, err error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("query events of other collectors: %w", err)
	}
	if v.through <= after {
		return nil, after, nil
	}
	own := s.ownAfter(after)
	d, err := s.client.query(ctx, "SELECT cluster, "+selected+" FROM "+s.layout.table("event")+fmt.Sprintf(" WHERE id > %d AND ", after)+v.condition()+own+
		fmt.Sprintf(" ORDER BY id LIMIT %d", limit))
	if err != nil {
		return nil, 0, fmt.Errorf("query events of other collectors: %w", err)
	}
	r := newEventReader()
	n := 0
	through = v.through
	for ; d.more(); n++ {
		cluster := d.text()
		ev, err := r.scan(d)
		if err != nil {
			return nil, 0, fmt.Errorf("query events of other collectors: %w", err)
		}
		run := store.Run{Cluster: cluster, Node: ev.GetNode(), Epoch: ev.GetEpoch()}
		if len(batches) == 0 || batches[len(batches)-1].Run != run {
			batches = append(batches, store.Batch{Run: run})
		}
		last := &batches[len(batches)-1]
		last.Events = append(last.Events, ev)
		if n+1 == limit {
			through = ev.GetId()
		}
	}
	if d.err != nil {
		return nil, 0, fmt.Errorf("query events of other collectors: %w", d.err)
	}
	return batches, through, nil
}

// ownAfter leaves out what this one has written, as far as it is above an id.
func (s *Store) ownAfter(after uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = slices.DeleteFunc(s.own, func(t transaction) bool { return t.last <= after })
	if len(s.own) == 0 {
		return ""
	}
	list := make([]string, len(s.own))
	for i, t := range s.own {
		list[i] = fmt.Sprint(t.txn)
	}
	return " AND txn NOT IN (" + strings.Join(list, ", ") + ")"
}
