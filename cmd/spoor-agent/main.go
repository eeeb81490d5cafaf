// SPDX-License-Identifier: Apache-2.0

// Command spoor-agent is `spoor agent` and nothing else: the program that runs with privileges on every node. It
// links no store, no web page and no notifier.
package main

import (
	"context"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spoor/spoor/cmd/internal/cli"
)

type grammar struct {
	Config  cli.ConfigFile  `help:"YAML file with values for flags; read besides /etc/spoor/spoor.yaml." placeholder:"FILE"`
	Version cli.VersionFlag `env:"-" help:"Say which version this is."`
	Unpin   bool            `env:"-" help:"Take out of the kernel what agents left there for the next one, and end: for uninstalling."`
	cli.AgentFlags
}

// Run watches, or removes what watching left.
func (g *grammar) Run(ctx context.Context, streams *cli.Streams) error {
	if g.Unpin {
		return cli.Unpin(g.Pin, streams)
	}
	ctx, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { giveBack(ctx) })
	err := g.AgentFlags.Run(ctx, streams)
	stop()
	background.Wait()
	return err
}

// giveBack returns to the system, every minute, what the runtime has and does not use. By itself it keeps what it had at most until it
// has collected twice, which is minutes where little is allocated, and much of it for good.
func giveBack(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
			debug.FreeOSMemory()
		}
	}
}

// gcPercent: the runtime collects when memory has grown by so much of what was in use, and not when it has doubled. The agent
// computes little and stays for ever: memory is what a node has less of.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(cli.Program{
		Name: "spoor-agent",
		Description: "Watches this host and ships what happens to a collector, until interrupted. It changes nothing on the host. " +
			"It needs root, or the capabilities BPF, PERFMON, NET_ADMIN, SYS_PTRACE and DAC_READ_SEARCH.",
		Grammar: &grammar{},
		Streams: cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
	}.Run(os.Args[1:]))
}
