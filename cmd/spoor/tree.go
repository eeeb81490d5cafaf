// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type treeCommand struct {
	ExecID string `arg:"" name:"exec-id" help:"The process; a unique beginning of its exec_id is enough."`
	output
	remote
}

func (*treeCommand) Help() string {
	return `Draws who started the process, and what it started. "spoor events" shows the exec_id of each process.

Examples:

    spoor tree k3v7qx2m
    spoor tree k3v7qx2m -o json | jq -r .process.exe`
}

func (c *treeCommand) Run(ctx context.Context, streams *cli.Streams) error {
	a, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, a, a.GetTree, &spoorv1.GetTreeRequest{ExecId: c.ExecID})
	if err != nil {
		return err
	}
	if c.json() {
		err = writeAll(streams.Out, answer.GetNodes(), jsonLine)
	} else {
		err = render.Tree(streams.Out, c.style(streams), answer.GetNodes())
	}
	if err != nil {
		return err
	}
	completeness(streams, answer.GetCompleteness())
	return nil
}
