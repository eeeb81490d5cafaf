// SPDX-License-Identifier: Apache-2.0

package scene

import (
	"context"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// Events asks a collector for all events of a filter, page after page, in the order in which they were stored.
func Events(ctx context.Context, ask spoorv1connect.QueryServiceClient, filter *spoorv1.EventFilter) ([]*spoorv1.Event, error) {
	var all []*spoorv1.Event
	var after uint64
	for {
		page, err := ask.ListEvents(ctx, connect.NewRequest(&spoorv1.ListEventsRequest{Filter: filter, AfterId: after, Limit: 10000}))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Msg.GetEvents()...)
		if !page.Msg.GetMore() {
			return all, nil
		}
		after = all[len(all)-1].GetId()
	}
}
