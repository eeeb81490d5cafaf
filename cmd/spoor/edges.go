// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type edgesCommand struct {
	Workload string `short:"w" help:"Only edges with this workload at either end, written as for events." placeholder:"WORKLOAD"`
	From     string `help:"Only what was seen from then on: ${times}." placeholder:"TIME"`
	To       string `help:"Only what was seen before then." placeholder:"TIME"`
	output
	remote
}

func (*edgesCommand) Help() string {
	return `An edge is a pair of workloads of which one calls the other on a port. ATTESTED BY says which ends reported it: an edge that only one end reports has no agent at the other, or leaves what Spoor watches.

Examples:

    spoor edges
    spoor edges --workload shop/Deployment/checkout --from yesterday
    spoor edges -o json | jq 'select(.refused)'`
}

func (c *edgesCommand) Run(ctx context.Context, streams *cli.Streams) error {
	now := time.Now()
	from, err := moment("--from", c.From, now)
	if err != nil {
		return err
	}
	to, err := moment("--to", c.To, now)
	if err != nil {
		return err
	}
	a, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, a, a.ListEdges, &spoorv1.ListEdgesRequest{From: from, To: to, Workload: c.Workload})
	if err != nil {
		return err
	}
	switch {
	case c.json():
		err = writeAll(streams.Out, answer.GetEdges(), jsonLine)
	case len(answer.GetEdges()) == 0:
		remark(streams, "No edges.")
	default:
		err = render.Edges(streams.Out, c.style(streams), answer.GetEdges())
	}
	if err != nil {
		return err
	}
	completeness(streams, answer.GetCompleteness())
	return nil
}
