// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/recording"
)

// history are the flags of commands that read what happened: from a collector, or from a recording.
type history struct {
	Recording string `help:"Read a recording instead of asking a collector: a file of \"spoor record\", or - for standard input." placeholder:"FILE"`
	span
	remote
}

// span are the flags of commands that read events of a stretch of time.
type span struct {
	Since string `help:"Only from then on: ${times}." placeholder:"TIME"`
	Until string `help:"Only before then." placeholder:"TIME"`
}

// limit puts the stretch of time into a filter.
func (s *span) limit(f *spoorv1.EventFilter, now time.Time) error {
	var err error
	if f.From, err = moment("--since", s.Since, now); err != nil {
		return err
	}
	if f.To, err = moment("--until", s.Until, now); err != nil {
		return err
	}
	if f.From != nil && f.To != nil && !f.GetFrom().AsTime().Before(f.GetTo().AsTime()) {
		return cli.BadInput(fmt.Errorf("--since %s is not before --until %s", s.Since, s.Until), "")
	}
	return nil
}

// each hands every event to fn, in the order in which they were stored.
func (h *history) each(ctx context.Context, streams *cli.Streams, fn func(*spoorv1.Event) error) error {
	during := &spoorv1.EventFilter{}
	if err := h.limit(during, time.Now()); err != nil {
		return err
	}
	if h.Recording != "" {
		return h.recorded(ctx, streams.In, during, fn)
	}
	a, err := h.dial()
	if err != nil {
		return err
	}
	return eachEvent(ctx, a, streams, during, fn)
}

// eachEvent asks for page after page.
func eachEvent(ctx context.Context, a *asker, streams *cli.Streams, filter *spoorv1.EventFilter, fn func(*spoorv1.Event) error) error {
	request := &spoorv1.ListEventsRequest{Filter: filter, Limit: page}
	for {
		answer, err := ask(ctx, a, a.ListEvents, request)
		if err != nil {
			return err
		}
		for _, ev := range answer.GetEvents() {
			if err := fn(ev); err != nil {
				return err
			}
			request.AfterId = ev.GetId()
		}
		if !answer.GetMore() || len(answer.GetEvents()) == 0 {
			completeness(streams, answer.GetCompleteness())
			return nil
		}
	}
}

// recorded reads a recording.
func (h *history) recorded(ctx context.Context, in io.Reader, during *spoorv1.EventFilter, fn func(*spoorv1.Event) error) (err error) {
	const fix = "\"spoor record FILE\" makes one."
	if h.Recording != "-" {
		file, err := os.Open(h.Recording)
		if err != nil {
			return cli.BadInput(fmt.Errorf("read the recording: %w", err), fix)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		in = file
	}
	interrupted := cli.Failed(errors.New("interrupted"), "")
	var failed error
	err = recording.Each(in, func(ev *spoorv1.Event) error {
		t := ev.GetTime().AsTime()
		switch {
		case ctx.Err() != nil:
			failed = interrupted
		case during.From != nil && t.Before(during.GetFrom().AsTime()) || during.To != nil && !t.Before(during.GetTo().AsTime()):
		default:
			failed = fn(ev)
		}
		return failed
	})
	if err != nil && failed == nil {
		return cli.BadInput(fmt.Errorf("read the recording %s: %w", h.Recording, err), fix)
	}
	return failed
}
