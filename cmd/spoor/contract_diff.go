// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/contract"
)

type contractDiffCommand struct {
	Before string `arg:"" help:"A file or folder of contracts."`
	After  string `arg:"" help:"Another version of it."`
	Output string `short:"o" help:"table for people, or json for programs: one object a change." enum:"table,json" default:"table"`
}

func (*contractDiffCommand) Help() string {
	return `Compares what contracts say, not how they are written: order, comments and file names do not matter. Each change tells whether it allows more or less. Exits with 1 when there is one.

Examples:

    spoor contract diff main/contracts contracts
    spoor contract diff old.yaml new.yaml -o json | jq -r 'select(.effect == "wider") | .contract'`
}

func (c *contractDiffCommand) Run(streams *cli.Streams) error {
	before, err := readContracts(c.Before)
	if err != nil {
		return err
	}
	after, err := readContracts(c.After)
	if err != nil {
		return err
	}
	changes := contract.Diff(before.Contracts(), after.Contracts())
	encoder := json.NewEncoder(streams.Out)
	encoder.SetEscapeHTML(false)
	for _, change := range changes {
		if c.Output == "json" {
			err = encoder.Encode(change)
		} else {
			_, err = fmt.Fprintf(streams.Out, "%-8s  %s\n", change.Effect, printableLines(change.String()))
		}
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	if len(changes) > 0 {
		return cli.Found()
	}
	remark(streams, "They say the same.")
	return nil
}

// printableLines escapes what a text has besides its line ends.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = render.Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
