// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/when"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/contract"
)

// centreFlags describe a collector.
type centreFlags struct {
	Listen       string `help:"Address for agents, for people and for the web page." default:"127.0.0.1:7070"`
	Data         string `help:"Folder that keeps the events." default:"/var/lib/spoor"`
	Keep         string `help:"How long events are kept: 12h, 30d, 8w; 0 for ever." default:"30d"`
	Contracts    string `help:"Folder of contracts to judge by; see \"spoor contract check\"." placeholder:"DIR"`
	Alertmanager string `help:"Alertmanager that findings are sent to." placeholder:"URL"`
}

// open starts a collector as far as that its port is bound and its store is open.
func (f *centreFlags) open(logger *slog.Logger, registry *prometheus.Registry) (*collector.Collector, error) {
	keep, err := when.Duration(f.Keep)
	if f.Keep == "0" {
		keep, err = 0, nil
	}
	if err != nil {
		return nil, cli.BadInput(fmt.Errorf("--keep: %w", err), "")
	}
	var contracts *contract.Set
	if f.Contracts != "" {
		if contracts, err = loadContracts(f.Contracts); err != nil {
			return nil, cli.BadInput(fmt.Errorf("contracts cannot be read:\n%w", err),
				"Correct them, and try with \"spoor contract check "+f.Contracts+"\".")
		}
	}
	c, err := collector.New(collector.Options{
		Listen:          f.Listen,
		DataDir:         f.Data,
		Contracts:       contracts,
		AlertmanagerURL: f.Alertmanager,
		Retention:       keep,
		Logger:          logger,
		Registerer:      registry,
		Gatherer:        registry,
		Version:         cli.BuildInfo().Version,
	})
	if err != nil {
		return nil, f.explain(err)
	}
	return c, nil
}

// explain says why a collector cannot start here and what would help.
func (f *centreFlags) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		problem := fmt.Errorf("the address %s is taken", f.Listen)
		if holder := portHolder(f.Listen); holder != "" {
			problem = fmt.Errorf("the address %s is taken by %s", f.Listen, holder)
		}
		return cli.Failed(problem, "Stop what holds it (another \"spoor up\"?), or take another one with --listen ADDRESS.")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return cli.BadInput(fmt.Errorf("the address %s is none of this host", f.Listen), "Give --listen an address that \"ip address\" lists, or 127.0.0.1.")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err, "Run as root (sudo), or choose a folder that you may write with --data DIR and a port above 1023 with --listen ADDRESS.")
	case errors.Is(err, syscall.ENOSPC):
		return cli.Failed(err, "Make room, or choose another folder with --data DIR.")
	default:
		return cli.Failed(err, "")
	}
}

type collectorCommand struct {
	centreFlags
	cli.LogFlags
}

func (*collectorCommand) Help() string {
	return `Takes events from agents, judges them by the contracts, stores them under --data and answers questions: the commands of this program, the web page, /metrics and /healthz, all at one address. Agents and people are not authenticated: bind it to a network that you trust.

Examples:

    spoor collector --data ~/spoor
    sudo spoor collector --listen 10.0.0.7:7070 --contracts /etc/spoor/contracts
    spoor collector --data ~/spoor --alertmanager http://127.0.0.1:9093 --log-format json`
}

func (c *collectorCommand) Run(ctx context.Context, streams *cli.Streams) error {
	logger := c.Logger(streams.Err)
	centre, err := c.open(logger, cli.NewRegistry())
	if err != nil {
		return err
	}
	logger.Info("collecting", "url", "http://"+centre.Addr().String()+"/", "data", c.Data)
	if err := centre.Run(ctx); err != nil {
		return cli.Failed(err, "")
	}
	return nil
}
