// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type statusCommand struct {
	output
	remote
}

func (*statusCommand) Help() string {
	return `Says for each agent whether it reports and how well each of its sensors can see: full, base or off, and what is not seen because of it.

Examples:

    spoor status
    spoor status -o json | jq -r '.agents[] | select(.connected | not) | .node'`
}

func (c *statusCommand) Run(ctx context.Context, streams *cli.Streams) error {
	a, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, a, a.GetStatus, &spoorv1.GetStatusRequest{})
	if err != nil {
		return err
	}
	if c.json() {
		return render.JSON(streams.Out, answer)
	}
	return render.Status(streams.Out, c.style(streams), answer)
}
