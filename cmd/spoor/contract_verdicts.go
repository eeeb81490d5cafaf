// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	bar := newProgress(streams.Err)
	err = c.pages(ctx, streams, &reading{measure: bar.on}, func(evs []*spoorv1.Event, done float64) error {
		trial.Observe(evs...)
		bar.show(evs, done)
		return nil
	})
	bar.end()
	if err != nil {
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
	remarkUnlabelled(streams, result)
	remark(streams, "Judged %d events of %s by %s; findings: %d.", result.Events, render.Duration(result.To.Sub(result.From)), contracts(set.Len()), len(verdicts)+result.Untold)
	if len(verdicts) > 0 {
		return cli.Found()
	}
	return nil
}

// remarkUnlabelled says what contracts by labels could not be asked about.
func remarkUnlabelled(streams *cli.Streams, r *contract.BacktestResult) {
	if r.Unlabelled > 0 {
		remark(streams, "Not judged: %d of the events. Their workloads' labels are not known, and contracts that select by labels may be about them. Agents of this version tell labels.", r.Unlabelled)
	}
}

func contracts(n int) string {
	if n == 1 {
		return "1 contract"
	}
	return fmt.Sprintf("%d contracts", n)
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
