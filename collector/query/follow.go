// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// followPage is how many events one message of a stream holds at most.
const followPage = 500

// FollowEvents implements spoorv1connect.QueryServiceHandler. Nothing waits in memory for a client that reads slowly:
// it goes on behind the last event that it took. An empty message says once that everything older was sent and that
// the stream waits, where there is nothing else to say that.
func (s *Service) FollowEvents(ctx context.Context, r *connect.Request[spoorv1.FollowEventsRequest], stream *connect.ServerStream[spoorv1.FollowEventsResponse]) error {
	select {
	case s.seats <- struct{}{}:
		defer func() { <-s.seats }()
	default:
		s.metrics.refused.WithLabelValues(reasonFollowers).Inc()
		return connect.NewError(connect.CodeResourceExhausted, errors.New("too many streams of events are open: close some, or ask with ListEvents and after_id"))
	}
	if r.Msg.GetFilter().GetTo() != nil {
		return invalid("filter.to", "a stream has no end: leave it out, or ask with ListEvents")
	}
	q, err := s.filter(ctx, r.Msg.GetFilter())
	if err != nil {
		return s.explain(ctx, "FollowEvents", err)
	}
	q.AfterID, q.Limit = r.Msg.GetAfterId(), followPage

	poll := time.NewTimer(s.o.Poll)
	defer poll.Stop()
	silent := true
	for {
		// Before the store is asked, so that what is committed after the answer is noticed.
		committed := s.o.Notify()
		if q.Bounded() {
			if q.Clocks, err = s.clocks(ctx); err != nil {
				return s.explain(ctx, "FollowEvents", err)
			}
		}
		page, err := s.o.Store.Events(ctx, q)
		switch {
		case ctx.Err() != nil:
			return ended(ctx)
		case err != nil:
			return s.explain(ctx, "FollowEvents", err)
		}
		if len(page.Events) > 0 || silent && !page.More {
			if !q.Bounded() {
				if q.Clocks, err = s.clocks(ctx); err != nil {
					return s.explain(ctx, "FollowEvents", err)
				}
			}
			correct(page.Events, q.Clocks)
			sayUnknown(page.Events, time.Now())
			if err := stream.Send(&spoorv1.FollowEventsResponse{Events: page.Events}); err != nil {
				return err
			}
			silent = false
		}
		q.AfterID = max(q.AfterID, page.Through)
		if page.More {
			select {
			case <-s.stopping:
				return errStopping()
			default:
				continue
			}
		}
		poll.Reset(s.o.Poll)
		select {
		case <-committed:
		case <-poll.C:
		case <-s.stopping:
			return errStopping()
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// errStopping makes the client come back: to this collector when it has started again, or to another one.
func errStopping() error {
	return connect.NewError(connect.CodeUnavailable, errors.New("the collector is stopping"))
}

// ended says why a stream ended before Stop. When it was the client who left, nobody hears it.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the time that the client set for the stream is over"))
	}
	return errStopping()
}
