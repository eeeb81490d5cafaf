// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/cmd/spoor/internal/report"
	"github.com/spoor/spoor/contract"
)

type contractTestCommand struct {
	Contracts []string `arg:"" name:"contracts" help:"Files or folders of contracts."`
	Output    string   `short:"o" help:"table for people; json, one finding a line; junit or sarif for what shows the results of CI." enum:"table,json,junit,sarif" default:"table"`
	history
	colour
}

func (*contractTestCommand) Help() string {
	return `Judges a recording, or what a collector has stored, by contracts, as the collector would have. Exits with 1 when something is found.

Examples:

    spoor contract test contracts --recording day.jsonl.gz
    spoor contract test contracts --since 24h
    spoor contract test contracts --recording day.jsonl.gz -o junit > report.xml
    spoor contract test contracts --recording day.jsonl.gz -o sarif > report.sarif`
}

func (c *contractTestCommand) Run(ctx context.Context, streams *cli.Streams) error {
	set, err := readContracts(c.Contracts...)
	if err != nil {
		return err
	}
	if set.Len() == 0 {
		return cli.BadInput(errors.New("there is no contract to test"), "")
	}
	// With nothing to compare with, what only the proposed contracts find is all that they find.
	trial := contract.NewBacktest(nil, set)
	if err := c.each(ctx, streams, observer(trial)); err != nil {
		return err
	}
	result := trial.Result()
	if result.Events == 0 {
		return cli.BadInput(errors.New("there are no events to judge"), "--since and --until choose the time; \"spoor status\" says what is stored.")
	}
	verdicts := result.OnlyProposed
	switch c.Output {
	case "junit":
		err = report.JUnit(streams.Out, set.Contracts(), verdicts)
	case "sarif":
		err = report.SARIF(streams.Out, cli.BuildInfo().Version, set.Contracts(), verdicts)
	case "json":
		err = writeAll(streams.Out, findings(verdicts), jsonLine)
	default:
		err = writeVerdicts(streams.Out, c.style(streams), verdicts)
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if result.Untold > 0 {
		remark(streams, "There were more findings than are told apart: %d more.", result.Untold)
	}
	remark(streams, "Judged %d events of %s by %s; findings: %d.", result.Events, render.Duration(result.To.Sub(result.From)), contracts(set.Len()), len(verdicts)+result.Untold)
	if len(verdicts) > 0 {
		return cli.Found()
	}
	return nil
}

type contractBacktestCommand struct {
	Proposed  []string `arg:"" name:"proposed" help:"Files or folders of the proposed contracts."`
	Contracts string   `type:"path" help:"Today's contracts, a file or folder, to compare with." placeholder:"PATH"`
	Output    string   `short:"o" help:"table for people, or json for programs: one object." enum:"table,json" default:"table"`
	history
	colour
}

func (*contractBacktestCommand) Help() string {
	return `Runs contracts over stored history: what they would have found, per rule and day, and what today's contracts find that they would not. Exits with 1 when the two differ.

Examples:

    spoor contract backtest contracts --since 7d
    spoor contract backtest proposed --contracts contracts --since 7d
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
	trial := contract.NewBacktest(current, proposed)
	progress := newProgress(streams.Err)
	observe := observer(trial)
	err = c.each(ctx, streams, func(ev *spoorv1.Event) error {
		progress.step(ev)
		return observe(ev)
	})
	progress.end()
	if err != nil {
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
	if len(result.OnlyCurrent)+len(result.OnlyProposed)+result.Untold > 0 {
		return cli.Found()
	}
	return nil
}

func (c *contractBacktestCommand) table(streams *cli.Streams, r *contract.BacktestResult) error {
	style := c.style(streams)
	fmt.Fprintf(streams.Out, "%d events, %s to %s\n\n", r.Events, r.From.In(style.Zone).Format("2006-01-02 15:04:05"), r.To.In(style.Zone).Format("2006-01-02 15:04:05"))
	if err := render.Backtest(streams.Out, style, r.Days); err != nil {
		return err
	}
	// Pages come to whoever is on call; a shift is counted as eight hours.
	shifts := max(1, r.To.Sub(r.From).Hours()/8)
	fmt.Fprintf(streams.Out, "\nFound by both: %d. Proposed findings in a shift of 8 hours: %.1f.\n", r.Both, float64(r.Both+len(r.OnlyProposed))/shifts)
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

func contracts(n int) string {
	if n == 1 {
		return "1 contract"
	}
	return fmt.Sprintf("%d contracts", n)
}

func observer(b *contract.Backtest) func(*spoorv1.Event) error {
	return func(ev *spoorv1.Event) error {
		b.Observe(ev)
		return nil
	}
}

// findings are verdicts in the words of the query service.
func findings(verdicts []contract.Verdict) []*spoorv1.Finding {
	all := make([]*spoorv1.Finding, len(verdicts))
	for i := range verdicts {
		v := &verdicts[i]
		fingerprint := v.Fingerprint()
		f := &spoorv1.Finding{
			Id: fingerprint[:10], Fingerprint: fingerprint, Rule: v.Rule, Severity: v.Severity, Workload: v.Workload, Owner: v.Owner,
			Title: v.Title, Why: v.Why, Fix: v.Fix, Subject: v.Subject, Contract: v.Contract,
			State: spoorv1.FindingState_FINDING_STATE_OPEN, FirstSeen: timestamppb.New(v.Time), LastSeen: timestamppb.New(v.Time), Count: 1,
		}
		for _, ev := range v.Evidence {
			f.EvidenceIds = append(f.EvidenceIds, ev.GetId())
		}
		all[i] = f
	}
	return all
}

func writeVerdicts(w io.Writer, style render.Style, verdicts []contract.Verdict) error {
	if len(verdicts) == 0 {
		return nil
	}
	return render.Findings(w, style, findings(verdicts))
}

// progress tells on a terminal how far a long look back has come.
type progress struct {
	w  io.Writer
	on bool
	n  uint64
}

func newProgress(w io.Writer) *progress {
	_, _, isTerminal := terminalSize(w)
	return &progress{w: w, on: isTerminal && os.Getenv("TERM") != "dumb"}
}

func (p *progress) step(ev *spoorv1.Event) {
	if p.n++; p.on && p.n%10_000 == 0 {
		fmt.Fprintf(p.w, "\r%d events, at %s ", p.n, ev.GetTime().AsTime().Local().Format("2006-01-02 15:04:05"))
	}
}

func (p *progress) end() {
	if p.on && p.n >= 10_000 {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
