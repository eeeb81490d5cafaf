// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/recording"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
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
	return h.pages(ctx, streams, &reading{}, oneByOne(fn))
}

// reading is where to read from, and whether somebody wants to know how far it has come.
type reading struct {
	// What is stored after the event with this id; of a collector only.
	after uint64
	// The id of the first event of all; 0 where that is not known.
	first uint64
	// Ask how far it is to the end, so that pages come with the part that is done.
	measure bool
}

// pages hands all events to fn, many at a time and in the order in which they were stored, with the part of them that fn has when it
// returns, from 0 to 1.
func (h *history) pages(ctx context.Context, streams *cli.Streams, r *reading, fn func(evs []*spoorv1.Event, done float64) error) error {
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
	return eventPages(ctx, a, streams, during, r, fn)
}

// eachEvent hands over what a collector has.
func eachEvent(ctx context.Context, a *asker, streams *cli.Streams, filter *spoorv1.EventFilter, fn func(*spoorv1.Event) error) error {
	return eventPages(ctx, a, streams, filter, &reading{}, oneByOne(fn))
}

// oneByOne hands the events of pages over.
func oneByOne(fn func(*spoorv1.Event) error) func([]*spoorv1.Event, float64) error {
	return func(evs []*spoorv1.Event, _ float64) error {
		for _, ev := range evs {
			if err := fn(ev); err != nil {
				return err
			}
		}
		return nil
	}
}

// ahead is how many pages are asked for while one is at work on.
const ahead = 2

// eventPages asks for page after page, for the next ones while fn is at work on one. Which id a page ends with is known only when it
// is there; the next ones are asked for as if no number between two events were missing, and what comes twice is left out.
func eventPages(
	ctx context.Context, a *asker, streams *cli.Streams, filter *spoorv1.EventFilter, r *reading, fn func([]*spoorv1.Event, float64) error,
) error {
	scale := extent{begin: r.first}
	if r.measure {
		newest, err := ask(ctx, a, a.ListEvents, &spoorv1.ListEventsRequest{Filter: filter, Limit: 1, Newest: true})
		if err != nil {
			return err
		}
		for _, ev := range newest.GetEvents() {
			scale.end = ev.GetId()
		}
	}
	type reply struct {
		answer *spoorv1.ListEventsResponse
		err    error
	}
	limited, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	var replies []chan reply
	seen, next := r.after, r.after
	for atATime := 1; ; atATime = 1 + ahead {
		for len(replies) < atATime {
			request := &spoorv1.ListEventsRequest{Filter: filter, Limit: page, AfterId: next}
			to := make(chan reply, 1)
			asking.Go(func() {
				answer, err := ask(limited, a, a.ListEvents, request)
				to <- reply{answer, err}
			})
			replies, next = append(replies, to), next+page
		}
		got := <-replies[0]
		if replies = replies[1:]; got.err != nil {
			return got.err
		}
		evs := got.answer.GetEvents()
		for len(evs) > 0 && evs[0].GetId() <= seen {
			evs = evs[1:]
		}
		if len(evs) > 0 {
			seen = evs[len(evs)-1].GetId()
			next = max(next, seen)
			if err := fn(evs, scale.done(evs)); err != nil {
				return err
			}
		}
		if !got.answer.GetMore() {
			completeness(streams, got.answer.GetCompleteness())
			return nil
		}
	}
}

// extent is the ids of the first event and the last; 0 where that is not known.
type extent struct{ begin, end uint64 }

// done is the part of all events that ends with these, 0 where that is not known.
func (e *extent) done(evs []*spoorv1.Event) float64 {
	if e.begin == 0 {
		e.begin = evs[0].GetId()
	}
	if e.end <= e.begin {
		return 0
	}
	return min(1, float64(evs[len(evs)-1].GetId()-e.begin)/float64(e.end-e.begin))
}

// recorded reads a recording.
func (h *history) recorded(ctx context.Context, in io.Reader, during *spoorv1.EventFilter, fn func([]*spoorv1.Event, float64) error) (err error) {
	const fix = "\"spoor record FILE\" makes one."
	size := int64(0)
	if h.Recording != "-" {
		file, err := os.Open(h.Recording)
		if err != nil {
			return cli.BadInput(fmt.Errorf("read the recording: %w", err), fix)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if info, err := file.Stat(); err == nil {
			size = info.Size()
		}
		in = file
	}
	counted := &countedReader{Reader: in}
	interrupted := cli.Failed(errors.New("interrupted"), "")
	var failed error
	var evs []*spoorv1.Event
	flush := func() error {
		done := 0.0
		if size > 0 {
			done = min(1, float64(counted.n)/float64(size))
		}
		taken := evs
		evs = nil // who takes events may keep them
		return fn(taken, done)
	}
	err = recording.Each(counted, func(ev *spoorv1.Event) error {
		t := render.When(ev).AsTime()
		switch {
		case ctx.Err() != nil:
			failed = interrupted
		case during.From != nil && t.Before(during.GetFrom().AsTime()) || during.To != nil && !t.Before(during.GetTo().AsTime()):
		default:
			if evs = append(evs, ev); len(evs) == page {
				failed = flush()
			}
		}
		return failed
	})
	if err != nil && failed == nil {
		return cli.BadInput(fmt.Errorf("read the recording %s: %w", h.Recording, err), fix)
	}
	if failed == nil && len(evs) > 0 {
		failed = flush()
	}
	return failed
}

// countedReader knows how much was read.
type countedReader struct {
	io.Reader
	n int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}
