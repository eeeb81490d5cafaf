// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/report"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/contract/portrait"
)

type reportCommand struct {
	Workload string `arg:"" optional:"" help:"The workload: NAME, KIND/NAME, NAMESPACE/KIND/NAME or with CLUSTER/ in front; * matches within a part."`
	All      bool   `short:"a" help:"Every workload, the one with the gravest evidence first."`
	Output   string `short:"o" help:"table for people, html as a page of its own, or json for programs: one object a line." enum:"table,html,json" default:"table"`
	history
}

func (*reportCommand) Help() string {
	return `Says of a workload whether it is stateless and how that is known, what it listens on, who calls it and whom it calls, what of that is new this week, which of the twelve factors can be seen to hold, and what to change first. It is held to be stateless for that, whatever its contract says, and needs none. Weight is 100 for each piece of evidence of high severity, 10 for medium, 1 for low.

Examples:

    spoor report shop/Deployment/checkout
    spoor report --all --since 7d
    spoor report --all -o html > fleet.html
    spoor report nginx.service --recording day.jsonl.gz -o json`
}

func (c *reportCommand) Run(ctx context.Context, streams *cli.Streams) error {
	if c.All == (c.Workload != "") {
		return cli.BadInput(errors.New("a report is about one workload or --all"), "\"spoor report --all\" lists them.")
	}
	pattern := "*"
	if !c.All {
		pattern = c.Workload
	}
	chosen, err := store.ParsePattern(pattern)
	if err != nil {
		return cli.BadInput(err, "")
	}
	gallery, err := portrait.New()
	if err != nil {
		return err
	}
	err = c.each(ctx, streams, func(ev *spoorv1.Event) error {
		gallery.Observe(ev)
		return nil
	})
	if err != nil {
		return err
	}
	all := gallery.Portraits(func(w *spoorv1.Workload) bool { return c.All || chosen.Match(w) })
	switch {
	case len(all) > 0:
	case c.All:
		remark(streams, "no service was seen: units, containers and pods are services, the host itself and people's sessions are not.")
	default:
		return cli.BadInput(errors.New("nothing was seen of such a workload"), "\"spoor report --all\" lists those of which something was.")
	}
	if n := gallery.Dropped(); n > 0 {
		remark(streams, "incomplete: %d facts were about more workloads, or more of one, than a report holds.", n)
	}
	if err := c.print(streams, all); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func (c *reportCommand) print(streams *cli.Streams, all []portrait.Portrait) error {
	switch {
	case c.Output == "json":
		return report.PortraitJSON(streams.Out, all)
	case c.Output == "html":
		return report.PortraitHTML(streams.Out, all, time.Local)
	case c.All:
		return report.PortraitRank(streams.Out, all)
	}
	for i := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(streams.Out); err != nil {
				return err
			}
		}
		if err := report.PortraitText(streams.Out, &all[i], time.Local); err != nil {
			return err
		}
	}
	return nil
}
