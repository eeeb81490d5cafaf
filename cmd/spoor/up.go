// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/kernel"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/collector"
)

type upCommand struct {
	centreFlags
	Node string `help:"Name of this host; the host name by default." placeholder:"NAME"`
	cli.SensorFlags
	cli.NameFlags
	cli.PinFlag
	Quiet     bool       `short:"q" help:"Plain lines instead of a live table: what is new, findings, and once a minute the rate."`
	LogLevel  slog.Level `help:"Least level that is logged: debug, info, warn or error." default:"warn"`
	LogFormat string     `help:"Form of the log on standard error: text or json." enum:"text,json" default:"text"`
	colour
}

func (*upCommand) Help() string {
	return `Runs an agent and a collector in one process, with a web page, and shows what is seen. Nothing needs to be configured. It needs root. Ctrl-C brings the last events to the store and says what was seen and what was lost.

It listens on a loopback address: only this host can ask, and everybody on it can read everything.

Examples:

    sudo spoor up
    sudo spoor up --contracts deploy/examples
    sudo spoor up --data /srv/spoor --listen 127.0.0.1:7171 --quiet
    sudo spoor up --alertmanager http://127.0.0.1:9093`
}

func (c *upCommand) Run(ctx context.Context, streams *cli.Streams) error {
	// Said first: who may not load programs may usually not write the data folder either, and that is not the point.
	if err := kernel.Check(); err != nil {
		return cli.Failed(fmt.Errorf("this host cannot be watched: %w", err), "")
	}
	if err := cli.CheckListen("--listen", c.Listen); err != nil {
		return err
	}
	if !collector.OnLoopback(c.Listen) {
		return cli.BadInput(fmt.Errorf("spoor up answers this host only, without certificates, and %s can be reached from elsewhere", c.Listen),
			"Listen on 127.0.0.1; for several machines there are \"spoor collector\" and \"spoor agent\".")
	}
	screen := newScreen(streams.Out, c.Quiet)
	logger := cli.NewLogger(screen.beside(streams.Err), c.LogLevel, c.LogFormat)
	registry := cli.NewRegistry()
	// Who asks is this host; each question would only repeat that.
	centre, err := c.open(logger, registry, access{audit: slog.New(slog.DiscardHandler)}, onward{}, fleetStore{}, nil)
	if err != nil {
		return err
	}
	url := "http://" + centre.Addr().String()
	// Before the agent, so that its first events are after the view's beginning.
	view := newView(screen, c.style(streams), newAsker(&http.Client{}, url, askTimeout, ""))
	watcher, err := agent.New(agent.Options{
		CollectorURL: url, Node: c.Node, Tier: c.Tier, Without: c.Without, CRISocket: c.CRISocket, Kubeconfig: c.Kubeconfig, Pin: c.Pin, Unpin: c.Pin == agent.PinAuto, Logger: logger, Registerer: registry, Version: cli.BuildInfo().Version,
	})
	if err != nil {
		// Run with a context that has ended releases the port and the store.
		ended, end := context.WithCancel(ctx)
		end()
		return cli.Failed(errors.Join(fmt.Errorf("this host cannot be watched: %w", err), centre.Run(ended)), "")
	}
	if err := c.report(screen, view.style, watcher.Coverage(), url); err != nil {
		return err
	}
	err = watch(ctx, centre, watcher, view)
	screen.clear()
	screen.say("", view.summary(time.Now()), "The events are in "+c.Data+"; \"spoor up\" and \"spoor collector --without-tls --data "+c.Data+"\" answer from them.")
	if err != nil {
		return cli.Failed(err, "")
	}
	return nil
}

// askTimeout is ample for a collector in the same process.
const askTimeout = 10 * time.Second

// watch runs the three until ctx ends or one fails, and stops them in the order in which events travel: the agent
// brings its last ones to the collector, the view counts them, the collector closes the store.
func watch(ctx context.Context, centre *collector.Collector, watcher *agent.Agent, view *view) error {
	lasting := context.WithoutCancel(ctx)
	centreCtx, stopCentre := context.WithCancel(lasting)
	viewCtx, stopView := context.WithCancel(lasting)
	agentCtx, stopAgent := context.WithCancel(ctx)
	defer stopCentre()
	defer stopView()
	defer stopAgent()

	var collecting, viewing errgroup.Group
	collecting.Go(func() error {
		defer stopAgent() // without a collector the agent has nobody to tell
		return centre.Run(centreCtx)
	})
	viewing.Go(func() error { return view.run(viewCtx) })
	stopping := context.AfterFunc(ctx, func() { view.screen.say("Stopping: bringing the last events to the store.") })
	defer stopping()

	errs := []error{watcher.Run(agentCtx)}
	stopView()
	errs = append(errs, viewing.Wait())
	if centreCtx.Err() == nil {
		errs = append(errs, view.catchUp(lasting))
	}
	stopCentre()
	return errors.Join(append(errs, collecting.Wait())...)
}

// report says what can be seen, and where to look.
func (c *upCommand) report(screen *screen, style render.Style, coverage []*spoorv1.Coverage, url string) error {
	release, machine := kernel.Release()
	screen.say(fmt.Sprintf("spoor %s on Linux %s, %s", cli.BuildInfo().Version, release, machine), "")
	if err := render.Coverage(screen, style, coverage); err != nil {
		return err
	}
	contracts, alerts := "none; --contracts DIR judges by some", "nowhere; --alertmanager URL sends them"
	if c.Contracts != "" {
		contracts = c.Contracts
	}
	if c.Alertmanager != "" {
		alerts = c.Alertmanager
	}
	screen.say("",
		"web page   "+url+"/  (this host only)",
		"data       "+c.Data,
		"contracts  "+contracts,
		"alerts     "+alerts,
		"", "Ctrl-C stops.", "")
	return nil
}
