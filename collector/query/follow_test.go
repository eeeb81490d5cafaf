// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/query"
)

// follower reads a stream until it has what a test wants of it.
type follower struct {
	*testing.T
	stream *connect.ServerStreamForClient[spoorv1.FollowEventsResponse]
	leave  context.CancelFunc
}

func (c *centre) follow(request *spoorv1.FollowEventsRequest) *follower {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	stream, err := c.FollowEvents(ctx, connect.NewRequest(request))
	if err != nil {
		c.Fatal(err)
	}
	f := &follower{c.T, stream, cancel}
	c.Cleanup(func() {
		cancel()
		_ = stream.Close() // it was cancelled
	})
	return f
}

// next returns the events of the next message.
func (f *follower) next() []*spoorv1.Event {
	f.Helper()
	if !f.stream.Receive() {
		f.Fatalf("the stream ended: %v", f.stream.Err())
	}
	return f.stream.Msg().GetEvents()
}

// take returns the next n events.
func (f *follower) take(n int) []*spoorv1.Event {
	f.Helper()
	var evs []*spoorv1.Event
	for len(evs) < n {
		evs = append(evs, f.next()...)
	}
	return evs
}

// code returns how the stream ends.
func (f *follower) code() connect.Code {
	f.Helper()
	for f.stream.Receive() {
		if n := len(f.stream.Msg().GetEvents()); n > 0 {
			f.Errorf("%d events instead of the end", n)
		}
	}
	return connect.CodeOf(f.stream.Err())
}

func TestFollow(t *testing.T) {
	c := start(t, nil)
	c.commit(runA, wrote(1, "/a"), called(2, "10.0.0.9"), wrote(3, "/b"))
	f := c.follow(&spoorv1.FollowEventsRequest{Filter: &spoorv1.EventFilter{Kinds: []string{"file_write"}}})
	if got := ids(f.next()); got != "1 3" {
		t.Fatalf("what matches already: %q", got)
	}
	c.commit(runB, called(4, "10.0.0.9"))
	c.commit(runB, wrote(5, "/c"))
	if got := ids(f.next()); got != "5" {
		t.Fatalf("what came after: %q", got)
	}
	// Somebody who comes back goes on behind the last event.
	if got := ids(c.follow(&spoorv1.FollowEventsRequest{AfterId: 3}).next()); got != "4 5" {
		t.Errorf("after 3: %q", got)
	}
}

func TestFollowSaysWhenItWaits(t *testing.T) {
	c := start(t, nil)
	f := c.follow(&spoorv1.FollowEventsRequest{})
	if got := f.next(); len(got) != 0 {
		t.Fatalf("%d events of an empty store", len(got))
	}
	c.commit(runA, wrote(1, "/a"))
	if got := ids(f.next()); got != "1" {
		t.Fatalf("the first event: %q", got)
	}
}

// While others write as fast as they can, each follower gets every event, once, in order.
func TestFollowersMissAndRepeatNothing(t *testing.T) {
	c := start(t, nil)
	const batches, size = 150, 20
	evs := make([]*spoorv1.Event, size)
	fill := func() []*spoorv1.Event {
		for i := range evs {
			evs[i] = wrote(i, "/f")
		}
		return evs
	}
	for range batches / 3 {
		c.commit(runA, fill()...)
	}
	followers := make([]*follower, 4)
	for i := range followers {
		followers[i] = c.follow(&spoorv1.FollowEventsRequest{AfterId: uint64(i)})
	}
	got := make(chan error, len(followers))
	for i, f := range followers {
		go func() {
			want := uint64(i)
			for want < batches*size && f.stream.Receive() {
				for _, ev := range f.stream.Msg().GetEvents() {
					if want++; ev.GetId() != want {
						got <- fmt.Errorf("follower %d got %d, want %d", i, ev.GetId(), want)
						return
					}
				}
			}
			got <- f.stream.Err()
		}()
	}
	for range batches - batches/3 {
		c.commit(runA, fill()...)
	}
	for range followers {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
}

// Another collector may write to the same store, and tells nobody here.
func TestFollowWithoutBeingTold(t *testing.T) {
	c := start(t, func(o *query.Options) { o.Notify, o.Poll = nil, 10*time.Millisecond })
	f := c.follow(&spoorv1.FollowEventsRequest{})
	f.next()
	for i := range 3 {
		want := ids(c.commit(runA, wrote(i, "/a")))
		if got := ids(f.take(1)); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestFollowEnds(t *testing.T) {
	c := start(t, func(o *query.Options) { o.MaxFollowers = 2 })
	first, second := c.follow(&spoorv1.FollowEventsRequest{}), c.follow(&spoorv1.FollowEventsRequest{})
	first.next()
	second.next()
	if code := c.follow(&spoorv1.FollowEventsRequest{}).code(); code != connect.CodeResourceExhausted {
		t.Errorf("the third of two streams: %v", code)
	}
	first.leave()
	deadline := time.Now().Add(patience)
	for c.gauge("spoor_collector_query_followers") != 1 {
		if time.Now().After(deadline) {
			t.Fatal("the stream goes on after its client left")
		}
		time.Sleep(time.Millisecond)
	}
	c.service.Stop()
	if code := second.code(); code != connect.CodeUnavailable {
		t.Errorf("when the collector stops the stream ends with %v", code)
	}
	if code := c.follow(&spoorv1.FollowEventsRequest{}).code(); code != connect.CodeUnavailable {
		t.Errorf("after the collector stopped a stream ends with %v", code)
	}
}

func (c *centre) gauge(name string) float64 {
	c.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		c.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	c.Fatalf("no metric %s", name)
	return 0
}

func TestFollowRefusesWhatHasAnEnd(t *testing.T) {
	c := start(t, nil)
	f := c.follow(&spoorv1.FollowEventsRequest{Filter: &spoorv1.EventFilter{To: at(1)}})
	if code := f.code(); code != connect.CodeInvalidArgument {
		t.Errorf("%v, want invalid_argument: %v", code, f.stream.Err())
	}
	if code := c.follow(&spoorv1.FollowEventsRequest{Filter: &spoorv1.EventFilter{ExecId: "zz"}}).code(); code != connect.CodeNotFound {
		t.Errorf("an unknown process: %v", code)
	}
}

func TestFollowUntilTheClientsTimeIsOver(t *testing.T) {
	c := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	stream, err := c.FollowEvents(ctx, connect.NewRequest(&spoorv1.FollowEventsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
	}
	if err := stream.Err(); connect.CodeOf(err) != connect.CodeDeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the stream ended with %v", err)
	}
	_ = stream.Close() // it is over
}

func TestMetrics(t *testing.T) {
	c := start(t, nil)
	ask(t, c.GetStatus, &spoorv1.GetStatusRequest{})
	refused(t, c.GetTree, &spoorv1.GetTreeRequest{ExecId: "zz"}, connect.CodeNotFound)
	var got []string
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			series := family.GetName()
			for _, l := range m.GetLabel() {
				series += " " + l.GetValue()
			}
			got = append(got, series)
		}
	}
	want := []string{
		"spoor_collector_query_followers", "spoor_collector_query_refused_total followers",
		"spoor_collector_query_seconds GetStatus ok", "spoor_collector_query_seconds GetTree not_found",
	}
	if !slices.Equal(got, want) {
		t.Errorf("metrics %q, want %q", got, want)
	}
}
