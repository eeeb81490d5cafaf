// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

const (
	drawEvery     = 500 * time.Millisecond
	findingsEvery = 2 * time.Second
	// How often plain lines say the rate.
	rateEvery = time.Minute
	// Plain lines about new facts: so many at once, and so many a second for long.
	linesAtOnce    = 100
	linesPerSecond = 0.1
	// Rows that a view remembers; a terminal shows fewer.
	viewRows = 500
	// Findings that the live region shows.
	viewFindings = 5
)

// view shows what a collector takes in while `up` runs: as a live table on a terminal, else as one line for each
// new fact. It asks the collector like everybody else.
type view struct {
	screen  *screen
	style   render.Style
	asker   *asker
	started time.Time

	board *render.Board
	// The last event that was taken.
	after uint64
	// Open findings, and the ids of all that have been told.
	findings []*spoorv1.Finding
	told     map[string]bool
	// Plain lines may end up in a log on disk: on a busy host they are rationed, and what is not told is counted.
	lines  *rate.Limiter
	untold int
}

func newView(s *screen, style render.Style, a *asker) *view {
	started := time.Now()
	return &view{
		screen: s, style: style, asker: a, started: started, told: map[string]bool{},
		lines: rate.NewLimiter(linesPerSecond, linesAtOnce),
		board: render.NewBoard(viewRows, uint32(os.Getpid()), started), //nolint:gosec // a process id is not negative
	}
}

func (v *view) filter() *spoorv1.EventFilter {
	return &spoorv1.EventFilter{From: timestamppb.New(v.started)}
}

// run shows events and findings until ctx ends.
func (v *view) run(ctx context.Context) error {
	batches := make(chan []*spoorv1.Event)
	var group errgroup.Group
	group.Go(func() error { v.receive(ctx, batches); return nil })
	draw, ask, pulse := time.NewTicker(drawEvery), time.NewTicker(findingsEvery), time.NewTicker(rateEvery)
	defer draw.Stop()
	defer ask.Stop()
	defer pulse.Stop()
	for {
		select {
		case <-ctx.Done():
			return group.Wait()
		case events := <-batches:
			v.take(events)
		case <-ask.C:
			v.askFindings(ctx)
		case <-draw.C:
			v.draw()
		case now := <-pulse.C:
			if !v.screen.live {
				v.sayRate(now)
			}
		}
	}
}

// receive hands over events as they become durable. It goes on behind the last one when a stream breaks.
func (v *view) receive(ctx context.Context, batches chan<- []*spoorv1.Event) {
	request := &spoorv1.FollowEventsRequest{Filter: v.filter()}
	for ctx.Err() == nil {
		// Why a stream broke does not matter: what it missed is asked for again, and at the end by catchUp.
		_ = stream(ctx, v.asker, request, func(events []*spoorv1.Event) error {
			select {
			case batches <- events:
				request.AfterId = events[len(events)-1].GetId()
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

func (v *view) take(events []*spoorv1.Event) {
	v.after = events[len(events)-1].GetId()
	v.style.Now = time.Now()
	for _, ev := range v.board.Add(v.style.Now, events...) {
		switch {
		case v.screen.live:
		case v.lines.AllowN(v.style.Now, 1):
			v.screen.say(render.Line(v.style, ev))
		default:
			v.untold++
		}
	}
}

// sayRate is the pulse of plain lines.
func (v *view) sayRate(now time.Time) {
	line := v.board.Heading(v.style, now, len(v.findings))
	if v.untold > 0 {
		line += fmt.Sprintf(" · %d new facts not told here; \"spoor events\" shows all", v.untold)
		v.untold = 0
	}
	v.screen.say(line)
}

// askFindings looks for findings that are new. When the collector does not answer, the next turn asks again.
func (v *view) askFindings(ctx context.Context) {
	answer, err := ask(ctx, v.asker, v.asker.ListFindings, &spoorv1.ListFindingsRequest{
		States: []spoorv1.FindingState{spoorv1.FindingState_FINDING_STATE_OPEN},
	})
	if err != nil {
		return
	}
	v.findings = answer.GetFindings()
	for _, f := range v.findings {
		if !v.told[f.GetId()] && !v.screen.live {
			v.screen.say(render.FindingLine(v.style, f))
		}
		v.told[f.GetId()] = true
	}
}

// draw puts the rate, the findings and as much of the table as fits on the terminal.
func (v *view) draw() {
	columns, rows, ok := terminalSize(v.screen.out)
	if !ok {
		return
	}
	v.style.Width, v.style.Now = columns, time.Now()
	lines := []string{"", v.board.Heading(v.style, v.style.Now, len(v.findings)), ""}
	for i, f := range v.findings {
		if i == viewFindings {
			lines = append(lines, fmt.Sprintf("... and %d more: spoor findings", len(v.findings)-i))
			break
		}
		lines = append(lines, render.FindingLine(v.style, f))
	}
	if len(v.findings) > 0 {
		lines = append(lines, "")
	}
	// One row stays free, because the cursor stands below the last line.
	lines = append(lines, v.board.Table(v.style, rows-len(lines)-1)...)
	v.screen.draw(lines[:min(len(lines), rows-1)])
}

// catchUp takes what the store has and the view has not seen.
func (v *view) catchUp(ctx context.Context) error {
	for {
		answer, err := ask(ctx, v.asker, v.asker.ListEvents, &spoorv1.ListEventsRequest{Filter: v.filter(), AfterId: v.after, Limit: page})
		if err != nil {
			return fmt.Errorf("count the last events: %w", err)
		}
		if len(answer.GetEvents()) == 0 {
			return nil
		}
		v.take(answer.GetEvents())
	}
}

// summary says what was seen and what was lost.
func (v *view) summary(now time.Time) string {
	return "Watched for " + render.Duration(now.Sub(v.started)) + ": " + v.board.Summary() + "."
}
