// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/cmd/spoor/internal/report"
	"github.com/spoor/spoor/contract"
)

type contractBacktestCommand struct {
	Proposed  []string `arg:"" name:"proposed" help:"Files or folders of the proposed contracts."`
	Contracts string   `type:"path" help:"Today's contracts, a file or folder, to compare with." placeholder:"PATH"`
	Resume    string   `type:"path" help:"File that keeps how far it has come, every few seconds: the same command goes on from there after it was stopped. Removed at the end." placeholder:"FILE"`
	Output    string   `short:"o" help:"table for people, or json for programs: one object." enum:"table,json" default:"table"`
	history
	colour
}

func (*contractBacktestCommand) Help() string {
	return `Runs contracts over stored history: what they would have found, per rule and day, how often somebody would have been paged, and what today's contracts find that they would not. Exits with 1 when the two differ.

Examples:

    spoor contract backtest contracts --since 7d
    spoor contract backtest proposed --contracts contracts --since 30d --resume backtest.json
    spoor contract backtest proposed --contracts contracts --recording week.jsonl.gz -o json`
}

func (c *contractBacktestCommand) Run(ctx context.Context, streams *cli.Streams) error {
	proposed, err := readContracts(c.Proposed...)
	if err != nil {
		return err
	}
	var current *contract.Set
	if c.Contracts != "" {
		if current, err = readContracts(c.Contracts); err != nil {
			return err
		}
	}
	// Events come as fast as they can be decoded, and most are garbage as soon as they were judged.
	defer debug.SetGCPercent(debug.SetGCPercent(300))
	trial := contract.NewBacktest(current, proposed)
	if err := c.judge(ctx, streams, trial, current, proposed); err != nil {
		return err
	}
	result := trial.Result()
	if result.Events == 0 {
		return cli.BadInput(errors.New("there are no events to judge"), "--since and --until choose the time; \"spoor status\" says what is stored.")
	}
	if c.Output == "json" {
		err = report.Backtest(streams.Out, result, findings(result.OnlyCurrent), findings(result.OnlyProposed))
	} else {
		err = c.table(streams, result)
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	remarkUnlabelled(streams, result)
	if len(result.OnlyCurrent)+len(result.OnlyProposed)+result.Untold > 0 {
		return cli.Found()
	}
	return nil
}

// judge shows the events to the trial, from where an earlier run stopped if one did.
func (c *contractBacktestCommand) judge(ctx context.Context, streams *cli.Streams, trial *contract.Backtest, current, proposed *contract.Set) error {
	bar := newProgress(streams.Err)
	read := &reading{measure: bar.on}
	show := func(evs []*spoorv1.Event, done float64) error {
		trial.Observe(evs...)
		bar.show(evs, done)
		return nil
	}
	if c.Resume == "" {
		defer bar.end()
		return c.pages(ctx, streams, read, show)
	}
	if c.Recording != "" {
		return cli.BadInput(errors.New("--resume and --recording do not go together: a recording is read from its beginning"), "Leave one of the two out.")
	}
	p, err := openCheckpoint(c, current, proposed)
	if err != nil {
		return err
	}
	if p.Position > 0 {
		if err := trial.Resume(p.state); err != nil {
			return cli.BadInput(fmt.Errorf("--resume: %w", err), "Remove "+c.Resume+", and begin again.")
		}
		p.state = nil
		remark(streams, "Going on after %d events.", p.Events)
	}
	read.first, read.after = p.First, p.Position
	err = c.pages(ctx, streams, read, func(evs []*spoorv1.Event, done float64) error {
		if err := show(evs, done); err != nil {
			return err
		}
		return p.passed(evs, trial)
	})
	bar.end()
	if err != nil {
		if ctx.Err() != nil && p.Position > 0 {
			return errors.Join(cli.Failed(errors.New("interrupted"), "The same command goes on where this one stopped."), p.save(trial))
		}
		return err
	}
	return p.remove()
}

func (c *contractBacktestCommand) table(streams *cli.Streams, r *contract.BacktestResult) error {
	style := c.style(streams)
	format := func(t time.Time) string { return t.In(style.Zone).Format("2006-01-02 15:04:05") }
	fmt.Fprintf(streams.Out, "%d events, %s to %s\n\n", r.Events, format(r.From), format(r.To))
	if err := render.Backtest(streams.Out, style, r.Days); err != nil {
		return err
	}
	fmt.Fprintf(streams.Out, "\nFound by both: %d.\nPages in a shift of 8 hours, today's:  %s\n                     proposed: %s\n", r.Both, shifts(&r.Pages.Current), shifts(&r.Pages.Proposed))
	for _, part := range []struct {
		what     string
		verdicts []contract.Verdict
	}{{"No longer found", r.OnlyCurrent}, {"New", r.OnlyProposed}} {
		if len(part.verdicts) == 0 {
			continue
		}
		fmt.Fprintf(streams.Out, "\n%s: %d\n\n", part.what, len(part.verdicts))
		if err := writeVerdicts(streams.Out, style, part.verdicts); err != nil {
			return err
		}
	}
	return nil
}

// shifts says how often somebody would have been paged.
func shifts(p *contract.BacktestPages) string {
	if p.Total == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f on average, at most %d (from %s UTC)", p.PerShift, p.Worst, p.WorstShift.UTC().Format("2006-01-02 15:04"))
}
