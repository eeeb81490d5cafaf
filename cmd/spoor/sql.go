// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type sqlCommand struct {
	Query   string `arg:"" help:"The statement, or - to read it from standard input."`
	MaxRows uint32 `help:"At most so many rows." default:"1000"`
	output
	remote
}

func (*sqlCommand) Help() string {
	return `The store is opened for reading only. With -o json each row is one object whose keys are the columns.

Examples:

    spoor sql 'SELECT name FROM sqlite_schema ORDER BY name'
    spoor sql 'SELECT count(*) AS events FROM events' -o json
    spoor sql - < question.sql`
}

func (c *sqlCommand) Run(ctx context.Context, streams *cli.Streams) error {
	query := c.Query
	if query == "-" {
		text, err := io.ReadAll(streams.In)
		if err != nil {
			return cli.BadInput(fmt.Errorf("read the statement from standard input: %w", err), "")
		}
		query = string(text)
	}
	a, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, a, a.RunSQL, &spoorv1.RunSQLRequest{Query: query, MaxRows: c.MaxRows})
	if err != nil {
		return err
	}
	if c.json() {
		err = render.SQLJSON(streams.Out, answer)
	} else {
		err = render.SQL(streams.Out, c.style(streams), answer)
	}
	if err != nil {
		return err
	}
	if answer.GetMore() {
		remark(streams, "There are more rows than these %d; --max-rows N shows more.", len(answer.GetRows()))
	}
	return nil
}
