// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
)

// reconnect is how long a follower waits before it calls a collector again that went away.
const reconnect = time.Second

// follow streams events until the command is interrupted. When the collector goes away it waits and goes on
// behind the last event that it saw: ids grow with the time of commit, over restarts too.
func (c *eventsCommand) follow(ctx context.Context, streams *cli.Streams, a *asker, filter *spoorv1.EventFilter) error {
	// A collector that was never there is a mistake; one that goes away later may come back.
	if _, err := ask(ctx, a, a.GetStatus, &spoorv1.GetStatusRequest{}); err != nil {
		return err
	}
	write, err := c.writer(streams)
	if err != nil {
		return err
	}
	if filter.From == nil {
		filter.From = timestamppb.Now()
	}
	request := &spoorv1.FollowEventsRequest{Filter: filter}
	var broken error
	take := func(events []*spoorv1.Event) error {
		for _, ev := range events {
			request.AfterId = ev.GetId()
			if broken = write(ev); broken != nil {
				return broken
			}
		}
		return nil
	}
	for {
		before := request.GetAfterId()
		err := stream(ctx, a, request, take)
		switch {
		case ctx.Err() != nil:
			return nil
		case broken != nil:
			return broken
		case connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeUnavailable:
			return a.explain(ctx, err)
		case request.GetAfterId() != before || before == 0:
			remark(streams, "The collector at %s went away; waiting for it.", a.url)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnect):
		}
	}
}

// stream hands over the events of one call until it ends; never an empty list.
func stream(ctx context.Context, a *asker, request *spoorv1.FollowEventsRequest, take func([]*spoorv1.Event) error) (err error) {
	answers, err := a.FollowEvents(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answers.Close()) }()
	for answers.Receive() {
		if events := answers.Msg().GetEvents(); len(events) > 0 {
			if err := take(events); err != nil {
				return err
			}
		}
	}
	return answers.Err()
}
