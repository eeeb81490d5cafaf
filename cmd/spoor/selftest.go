// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/selftest"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type selftestCommand struct {
	output
	Dir []string `help:"Folder in which the acts on files are done, in one of their own that is removed again; may be repeated, for one on each file system that matters. The one for temporary files by default." placeholder:"DIR"`
	cli.SensorFlags
}

func (*selftestCommand) Help() string {
	return `Runs an agent, writes files in every way that the kernel offers, shares memory, talks over the loopback device and executes programs, and looks whether the agent told it all, by exactly the right process. What it cannot see here is listed with the reason. It takes less than half a minute and needs root.

It exits with 0 when everything is seen that this tier promises, and with 1 when something is not.

Examples:

    sudo spoor selftest
    sudo spoor selftest --dir /var/lib/kubelet --dir /dev/shm
    sudo spoor selftest -o json | jq -r 'select(.state == "missed") | .act + ": " + .why'`
}

// actPatience is how long one act, and the telling of one that goes on, may take: the bytes of a connection that lives on are told
// every ten seconds.
const actPatience = 30 * time.Second

func (c *selftestCommand) Run(ctx context.Context, streams *cli.Streams) error {
	if err := kernel.Check(); err != nil {
		return cli.Failed(fmt.Errorf("nothing can be seen on this host: %w", err), "")
	}
	if uid := os.Geteuid(); uid != 0 {
		return cli.Failed(fmt.Errorf("the acts take root, and this is uid %d", uid), "Run it with sudo.")
	}
	places, err := c.places()
	if err != nil {
		return err
	}
	style := c.style(streams)
	o := selftest.Options{
		Agent:  agent.Options{Tier: c.Tier, Without: c.Without, Version: cli.BuildInfo().Version},
		Places: places, Patience: actPatience,
	}
	if !c.json() {
		release, machine := kernel.Release()
		var where []string
		for _, p := range places {
			where = append(where, fmt.Sprintf("%s (%s)", p.Dir, p.FileSystem))
		}
		fmt.Fprintf(streams.Out, "spoor %s on Linux %s, %s; acts on files in %s\n",
			cli.BuildInfo().Version, release, machine, strings.Join(where, ", "))
		if _, _, terminal := terminalSize(streams.Out); terminal {
			o.Begin = func(a *act.Act, fileSystem string) {
				fmt.Fprintf(streams.Out, "\r\x1b[K%s on %s ...", a.Name, fileSystem)
			}
		}
	}
	report, err := selftest.Run(ctx, o)
	if o.Begin != nil {
		fmt.Fprint(streams.Out, "\r\x1b[K")
	}
	if err != nil {
		return cli.Failed(err, "")
	}
	if c.json() {
		err = render.SelftestJSON(streams.Out, report)
	} else {
		err = render.Selftest(streams.Out, style, report)
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if len(report.Short()) > 0 {
		return cli.Found()
	}
	return nil
}

func (c *selftestCommand) places() ([]selftest.Place, error) {
	dirs := c.Dir
	if len(dirs) == 0 {
		dirs = []string{os.TempDir()}
	}
	var places []selftest.Place
	for _, dir := range dirs {
		// Events carry the path as the kernel has it, without symbolic links.
		dir, err := filepath.Abs(dir)
		if err == nil {
			dir, err = filepath.EvalSymlinks(dir)
		}
		if err != nil {
			return nil, cli.BadInput(fmt.Errorf("flag --dir: %w", err), "")
		}
		fs, err := act.FileSystem(dir)
		if err != nil {
			return nil, cli.BadInput(fmt.Errorf("flag --dir: %w", err), "")
		}
		places = append(places, selftest.Place{FileSystem: fs, Dir: dir})
	}
	return places, nil
}
