// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type timelineCommand struct {
	Workload string `arg:"" help:"The workload: NAME, KIND/NAME, NAMESPACE/KIND/NAME or with CLUSTER/ in front; * matches within a part."`
	From     string `help:"Where the story begins: ${times}." default:"1h"`
	To       string `help:"Where it ends." default:"now"`
	output
	remote
}

func (*timelineCommand) Help() string {
	return `Tells time, process and what it did, with the findings where they were first seen. Facts that repeat are told once, with their number. With -o json it prints the events.

Examples:

    spoor timeline nginx.service
    spoor timeline shop/Deployment/checkout --from 14:00 --to 14:20
    spoor timeline 'Session/*' --from yesterday`
}

func (c *timelineCommand) Run(ctx context.Context, streams *cli.Streams) error {
	now := time.Now()
	from, err := moment("--from", c.From, now)
	if err != nil {
		return err
	}
	to, err := moment("--to", c.To, now)
	if err != nil {
		return err
	}
	if !from.AsTime().Before(to.AsTime()) {
		return cli.BadInput(fmt.Errorf("--from %s is not before --to %s", c.From, c.To), "")
	}
	a, err := c.dial()
	if err != nil {
		return err
	}
	request := &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Workload: c.Workload, From: from, To: to}, Limit: page}
	answer, err := ask(ctx, a, a.ListEvents, request)
	if err != nil {
		return err
	}
	if len(answer.GetEvents()) == 0 {
		return c.nothing(ctx, streams, a)
	}
	if c.json() {
		err = writeAll(streams.Out, answer.GetEvents(), jsonLine)
	} else {
		err = c.tell(ctx, streams, a, answer.GetEvents())
	}
	if err != nil {
		return err
	}
	if answer.GetMore() {
		last := answer.GetEvents()[len(answer.GetEvents())-1]
		remark(streams, "The story goes on: this was its beginning, %d events. Go on with --from %s.",
			len(answer.GetEvents()), render.When(last).AsTime().Local().Format(time.RFC3339))
	}
	completeness(streams, answer.GetCompleteness())
	return nil
}

func (c *timelineCommand) tell(ctx context.Context, streams *cli.Streams, a *asker, events []*spoorv1.Event) error {
	answer, err := ask(ctx, a, a.ListFindings, &spoorv1.ListFindingsRequest{Workload: c.Workload, States: everyState()})
	if err != nil {
		return err
	}
	first, last := render.When(events[0]).AsTime(), render.When(events[len(events)-1]).AsTime()
	findings := slices.DeleteFunc(answer.GetFindings(), func(f *spoorv1.Finding) bool {
		seen := f.GetFirstSeen().AsTime()
		return seen.Before(first) || seen.After(last.Add(time.Minute))
	})
	return render.Timeline(streams.Out, c.style(streams), events, findings)
}

// nothing says why there is no story: the workload did nothing then, or there is none of that name.
func (c *timelineCommand) nothing(ctx context.Context, streams *cli.Streams, a *asker) error {
	latest, err := ask(ctx, a, a.ListEvents, &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Workload: c.Workload}, Limit: 1, Newest: true})
	if err != nil {
		return err
	}
	if len(latest.GetEvents()) > 0 {
		remark(streams, "No events of %s in that time; the latest is of %s.", render.Printable(c.Workload),
			render.When(latest.GetEvents()[0]).AsTime().Local().Format(time.DateTime))
		return nil
	}
	others, err := ask(ctx, a, a.ListEvents, &spoorv1.ListEventsRequest{
		Filter: &spoorv1.EventFilter{From: timestamppb.New(time.Now().Add(-24 * time.Hour))}, Limit: page, Newest: true,
	})
	if err != nil {
		return err
	}
	fix := "No workload has been seen in the last day. \"spoor status\" says which agents report."
	if names := similarWorkloads(c.Workload, others.GetEvents()); len(names) > 0 {
		fix = "Seen lately: " + strings.Join(names, ", ") + "."
	}
	return cli.BadInput(errors.New("no event of a workload "+render.Printable(c.Workload)), fix)
}

// similarWorkloads returns the few workloads among events whose names are most like what was asked for.
func similarWorkloads(asked string, events []*spoorv1.Event) []string {
	const few = 5
	seen := map[string]int{}
	for _, ev := range events {
		if w := ev.GetInstance().GetWorkload(); w.GetName() != "" {
			seen[render.WorkloadName(w, ev.GetNode())] = distance(strings.ToLower(asked), strings.ToLower(w.GetName()))
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(seen[a], seen[b]), strings.Compare(a, b)) })
	return names[:min(few, len(names))]
}

// distance is the number of edits that make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
