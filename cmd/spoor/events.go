// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/cmd/spoor/internal/when"
)

// page is as many events as a collector returns at once.
const page = 10000

type eventsCommand struct {
	Workload string   `short:"w" placeholder:"WORKLOAD" help:"Only of this workload: NAME, KIND/NAME, NAMESPACE/KIND/NAME or with CLUSTER/ in front; * matches within a part."`
	Kind     []string `short:"k" help:"Only of these kinds: ${kinds}." placeholder:"KIND"`
	Node     string   `env:"SPOOR_FILTER_NODE" help:"Only of this node." placeholder:"NAME"`
	Exec     string   `help:"Only of this process; a unique beginning of its exec_id is enough." placeholder:"EXEC_ID"`
	Path     string   `help:"Only of files whose path begins so." placeholder:"PREFIX"`
	Address  string   `help:"Only flows and listeners with this address at either end." placeholder:"ADDRESS"`
	span
	Limit  uint32 `short:"n" help:"At most so many, the newest; 0 for all." default:"1000"`
	Follow bool   `short:"f" help:"Go on with events as they happen, until interrupted."`
	output
	remote
}

func (*eventsCommand) Help() string {
	return `Lists events oldest first. The answer goes to standard output, remarks about it to standard error.

Examples:

    spoor events --since 10m
    spoor events --workload nginx.service --kind file_write --since 2h
    spoor events --path /var/lib/ --since yesterday -o json | jq .file_write.file.path
    spoor events --exec k3v7qx2m --limit 0
    spoor events --kind flow,listen --follow`
}

func (c *eventsCommand) filter(now time.Time) (*spoorv1.EventFilter, error) {
	f := &spoorv1.EventFilter{
		Workload: c.Workload, Node: c.Node, Kinds: c.Kind, ExecId: c.Exec, PathPrefix: c.Path, Address: c.Address,
	}
	for _, k := range c.Kind {
		if !slices.Contains(eventKinds(), k) {
			return nil, cli.BadInput(fmt.Errorf("there is no event kind %q", k), "The kinds are "+strings.Join(eventKinds(), ", ")+".")
		}
	}
	if err := c.limit(f, now); err != nil {
		return nil, err
	}
	return f, nil
}

// moment reads the value of a flag; an empty one is no moment.
func moment(flag, value string, now time.Time) (*timestamppb.Timestamp, error) {
	if value == "" {
		return nil, nil
	}
	t, err := when.Parse(value, now)
	if err != nil {
		return nil, cli.BadInput(fmt.Errorf("%s: %w", flag, err), "")
	}
	return timestamppb.New(t), nil
}

// eventKinds are the names that Event.kind can have: those of the facts.
func eventKinds() []string {
	fields := (&spoorv1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	kinds := make([]string, fields.Len())
	for i := range kinds {
		kinds[i] = string(fields.Get(i).Name())
	}
	return kinds
}

func (c *eventsCommand) Run(ctx context.Context, streams *cli.Streams) error {
	filter, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	a, err := c.dial()
	if err != nil {
		return err
	}
	switch {
	case c.Follow && c.Until != "":
		return cli.BadInput(fmt.Errorf("--follow has no end, and --until is one"), "Leave one of them out.")
	case c.Follow:
		return c.follow(ctx, streams, a, filter)
	case c.Limit == 0:
		return c.all(ctx, streams, a, filter)
	case c.Limit > page:
		return cli.BadInput(fmt.Errorf("--limit %d: a collector returns at most %d events at once", c.Limit, page),
			"Ask for fewer, or for all with --limit 0.")
	}
	answer, err := ask(ctx, a, a.ListEvents, &spoorv1.ListEventsRequest{Filter: filter, Limit: c.Limit, Newest: true})
	if err != nil {
		return err
	}
	switch {
	case c.json():
		err = writeAll(streams.Out, answer.GetEvents(), jsonLine)
	case len(answer.GetEvents()) == 0:
		remark(streams, "No events.")
	default:
		err = render.Events(streams.Out, c.style(streams), answer.GetEvents())
	}
	if err != nil {
		return err
	}
	if answer.GetMore() {
		remark(streams, "These are the newest %d; there are more. --limit 0 shows all.", len(answer.GetEvents()))
	}
	completeness(streams, answer.GetCompleteness())
	return nil
}

// all writes page after page, each as it comes.
func (c *eventsCommand) all(ctx context.Context, streams *cli.Streams, a *asker, filter *spoorv1.EventFilter) error {
	write, err := c.writer(streams)
	if err != nil {
		return err
	}
	return eachEvent(ctx, a, streams, filter, write)
}

// writer returns what writes one event after the other.
func (c *eventsCommand) writer(streams *cli.Streams) (func(*spoorv1.Event) error, error) {
	if c.json() {
		return func(ev *spoorv1.Event) error { return render.JSON(streams.Out, ev) }, nil
	}
	stream, err := render.NewEventStream(streams.Out, c.style(streams))
	if err != nil {
		return nil, err
	}
	return stream.Write, nil
}
