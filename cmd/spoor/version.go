// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"

	"github.com/spoor/spoor/cmd/internal/cli"
)

type versionCommand struct {
	Output string `short:"o" help:"table for people, or json for programs." enum:"table,json" default:"table"`
}

func (*versionCommand) Help() string {
	return `Examples:

    spoor version
    spoor version -o json | jq -r .revision`
}

func (c *versionCommand) Run(streams *cli.Streams) error {
	b := cli.BuildInfo()
	if c.Output == "json" {
		if err := json.NewEncoder(streams.Out).Encode(b); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	_, err := fmt.Fprintln(streams.Out, "spoor", b)
	return err
}
