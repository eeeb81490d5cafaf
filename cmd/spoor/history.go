// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
)

// history are the flags of commands that read what happened: from a collector, or from a recording.
type history struct {
	Recording string `help:"Read a recording instead of asking a collector: a file of \"spoor record\", or - for standard input." placeholder:"FILE"`
	Since     string `help:"Only from then on: ${times}." placeholder:"TIME"`
	Until     string `help:"Only before then." placeholder:"TIME"`
	remote
}

// maxLine bounds one event of a recording: more than an agent may ship in one message.
const maxLine = 16 << 20

// each hands every event to fn, in the order in which they were stored.
func (h *history) each(ctx context.Context, streams *cli.Streams, fn func(*spoorv1.Event) error) error {
	span, err := h.span(time.Now())
	if err != nil {
		return err
	}
	if h.Recording != "" {
		return h.recorded(ctx, streams.In, span, fn)
	}
	a, err := h.dial()
	if err != nil {
		return err
	}
	return eachEvent(ctx, a, streams, span, fn)
}

// span is the stretch of time that the flags name.
func (h *history) span(now time.Time) (*spoorv1.EventFilter, error) {
	c := eventsCommand{Since: h.Since, Until: h.Until}
	return c.filter(now)
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

// recorded reads a recording: one event in JSON a line, as `spoor events -o json` prints them, as they are or
// compressed with gzip.
func (h *history) recorded(ctx context.Context, stdin io.Reader, span *spoorv1.EventFilter, fn func(*spoorv1.Event) error) (err error) {
	in := stdin
	if h.Recording != "-" {
		file, err := os.Open(h.Recording)
		if err != nil {
			return cli.BadInput(fmt.Errorf("read the recording: %w", err), "\"spoor record FILE\" makes one.")
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		in = file
	}
	lines, err := plain(in)
	if err != nil {
		return cli.BadInput(fmt.Errorf("read the recording %s: %w", h.Recording, err), "")
	}
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	for scanner.Scan() {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return cli.Failed(errors.New("interrupted"), "")
		}
		if len(scanner.Bytes()) == 0 {
			continue
		}
		ev, err := decodeEvent(scanner.Bytes())
		if err != nil {
			return cli.BadInput(fmt.Errorf("%s:%d: not an event: %w", h.Recording, n, err),
				"A recording has one event in JSON a line, as \"spoor record\" and \"spoor events -o json\" write them.")
		}
		t := ev.GetTime().AsTime()
		if span.From != nil && t.Before(span.GetFrom().AsTime()) || span.To != nil && !t.Before(span.GetTo().AsTime()) {
			continue
		}
		if err := fn(ev); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return cli.BadInput(fmt.Errorf("%s:%d: %w", h.Recording, n+1, err), "")
	}
	return nil
}

// decodeEvent reads one line of a recording. Fields of later versions are ignored, as everywhere.
func decodeEvent(line []byte) (*spoorv1.Event, error) {
	ev := &spoorv1.Event{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, ev); err != nil {
		return nil, err
	}
	if ev.GetTime() == nil {
		return nil, errors.New("it has no time")
	}
	return ev, nil
}

// plain undoes gzip where there is any.
func plain(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b { // RFC 1952, 2.3.1
		return gzip.NewReader(b)
	}
	return b, nil
}
