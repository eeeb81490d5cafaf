// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spoor/spoor/cmd/internal/cli"

type unpinCommand struct{ cli.PinFlag }

func (*unpinCommand) Help() string {
	return `Removes the programs and maps that an agent leaves in the kernel for the next one: for uninstalling. Facts that no agent has read are lost. It needs root.

Examples:

    sudo spoor unpin
    sudo spoor unpin --pin /sys/fs/bpf/other`
}

func (c *unpinCommand) Run(streams *cli.Streams) error { return cli.Unpin(c.Pin, streams) }
