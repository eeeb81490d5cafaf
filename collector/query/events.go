// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Limits of ListEvents, as its request says them.
const (
	defaultEvents = 1000
	maxEvents     = 10_000
)

// ListEvents implements spoorv1connect.QueryServiceHandler.
func (s *Service) ListEvents(ctx context.Context, r *connect.Request[spoorv1.ListEventsRequest]) (*connect.Response[spoorv1.ListEventsResponse], error) {
	return answer(ctx, s, "ListEvents", r, s.listEvents)
}

func (s *Service) listEvents(ctx context.Context, r *spoorv1.ListEventsRequest) (*spoorv1.ListEventsResponse, error) {
	q, err := s.filter(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	if q.Limit, err = limit("limit", r.GetLimit(), defaultEvents, maxEvents, "get the rest page by page with after_id"); err != nil {
		return nil, err
	}
	q.AfterID, q.Newest = r.GetAfterId(), r.GetNewest()
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	q.Clocks = clocks(nodes)
	page, err := s.o.Store.Events(ctx, q)
	if err != nil {
		return nil, err
	}
	correct(page.Events, q.Clocks)
	about, err := s.aboutEvents(ctx, &q, page)
	if err != nil {
		return nil, err
	}
	completeness, err := s.completenessOf(ctx, nodes, about)
	if err != nil {
		return nil, err
	}
	sayUnknown(page.Events, time.Now())
	return &spoorv1.ListEventsResponse{Events: page.Events, More: page.More, Completeness: completeness}, nil
}

func limit(field string, asked, byDefault, most uint32, instead string) (int, error) {
	switch {
	case asked == 0:
		return int(byDefault), nil
	case asked > most:
		return 0, invalid(field, "%d is more than %d: write less, and %s", asked, most, instead)
	}
	return int(asked), nil
}

// aboutEvents says what a page speaks about: what was asked for, less what lies beyond its ends. What happened before
// the newest thousand events is no gap in them.
func (s *Service) aboutEvents(ctx context.Context, q *store.EventQuery, page *store.EventPage) (scope, error) {
	about := scope{from: q.From, to: q.To, kinds: q.Kinds, workload: q.Workload, node: q.Node}
	first, last := span(page.Events)
	if q.ExecID != "" && len(page.Events) > 0 {
		about.node = page.Events[0].GetNode()
	}
	switch {
	case page.More && q.Newest:
		about.from = later(about.from, first)
	case page.More:
		about.to = earlier(about.to, last)
	}
	if q.AfterID > 0 {
		before, err := s.o.Store.EventsByID(ctx, []uint64{q.AfterID})
		if err != nil {
			return about, err
		}
		correct(before, q.Clocks)
		_, end := span(before)
		about.from = later(about.from, end)
	}
	return about, nil
}

// span returns the times of the earliest and of the latest event, or zero times.
func span(evs []*spoorv1.Event) (first, last time.Time) {
	for i, ev := range evs {
		t := when(ev)
		if i == 0 || t.Before(first) {
			first = t
		}
		if i == 0 || t.After(last) {
			last = t
		}
	}
	return first, last
}

// later returns the later one of two bounds from below, where the zero time is none.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earlier returns the earlier one of two bounds from above, where the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
