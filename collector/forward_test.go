// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// all returns every event, by node, epoch and number: a collector gives ids of its own.
func (c *centre) all() []*spoorv1.Event {
	c.t.Helper()
	response, err := c.people().ListEvents(c.t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{Limit: 10_000}))
	if err != nil {
		c.t.Fatal(err)
	}
	events := response.Msg.GetEvents()
	for _, ev := range events {
		ev.Id = 0
	}
	slices.SortFunc(events, func(a, b *spoorv1.Event) int { return strings.Compare(place(a), place(b)) })
	return events
}

func place(ev *spoorv1.Event) string {
	return fmt.Sprintf("%s %s %08d", ev.GetNode(), ev.GetEpoch(), ev.GetSequence())
}

// status returns what a collector says about a node.
func (c *centre) status(node string) *spoorv1.AgentStatus {
	c.t.Helper()
	response, err := c.people().GetStatus(c.t.Context(), connect.NewRequest(&spoorv1.GetStatusRequest{}))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, a := range response.Msg.GetAgents() {
		if a.GetNode() == node {
			return a
		}
	}
	return nil
}

// same waits until a collector has all that another one has, and demands that it is the same.
func same(t *testing.T, from, to *centre) {
	t.Helper()
	want := from.all()
	var got []*spoorv1.Event
	eventually(t, "all events at the other collector", func() bool {
		got = to.all()
		return len(got) >= len(want)
	})
	if len(got) != len(want) {
		t.Fatalf("%d events became %d", len(want), len(got))
	}
	for i := range want {
		// Each collector corrects times by its own measurement of the clock.
		if here, there := want[i].GetCorrectedTime(), got[i].GetCorrectedTime(); (here == nil) != (there == nil) || here.AsTime().Sub(there.AsTime()).Abs() > time.Minute {
			t.Errorf("%s is corrected to %v by one and to %v by the other", place(want[i]), here, there)
		}
		want[i].CorrectedTime, got[i].CorrectedTime = nil, nil
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("%s became another one:\n%v\n%v", place(want[i]), want[i], got[i])
		}
	}
}

// tale makes batches of a node that calls another one: of so many events each.
func tale(s *story, batches, events int) []*spoorv1.Batch {
	var all []*spoorv1.Batch
	p := s.process("worker")
	for range batches {
		s.tell(p, started())
		for range events - 1 {
			s.tell(p, calls(fmt.Sprintf("10.0.0.%d", s.node[0]), "10.0.0.2", 80, 40000+uint32(s.sequence)))
		}
		all = append(all, s.next())
	}
	return all
}

func TestForward(t *testing.T) {
	central := start(t, collector.Options{})
	dir := t.TempDir()
	local := start(t, collector.Options{DataDir: dir, ForwardURL: central.url})
	a, b := newAgent("a"), newAgent("b")
	first, second := newStory("a", "front"), newStory("b", "back")
	local.ship(a, tale(first, 3, 50)...)
	local.ship(b, tale(second, 2, 10)...)
	// The other half of a call, so that both name their peers.
	p := second.process("server")
	second.tell(p, called("10.0.0.2", 80, fmt.Sprintf("10.0.0.%d", "a"[0]), 40001))
	local.ship(b, second.next())
	same(t, local, central)

	// Agents that are not connected here are not connected there; what they said of themselves is the same.
	eventually(t, "agents that are gone", func() bool { return !central.status("a").GetConnected() })
	mine, theirs := local.status("a"), central.status("a")
	if theirs.GetVersion() != "v0" || theirs.GetEpoch() != mine.GetEpoch() || !theirs.GetStartTime().AsTime().Equal(mine.GetStartTime().AsTime()) {
		t.Errorf("%v became %v", mine, theirs)
	}

	// What is written down may be lost: then more is read, and nothing is doubled.
	if err := local.stop(); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "{", `{"id":3,"node":"a","epoch":"another","sequence":3}`} {
		name := filepath.Join(dir, "forwarded.json")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		local = start(t, collector.Options{DataDir: dir, ForwardURL: central.url})
		local.ship(a, tale(first, 1, 5)...)
		same(t, local, central)
		if err := local.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForwardTellsWhoIsConnected: an agent that is connected to the one is, for the other.
func TestForwardTellsWhoIsConnected(t *testing.T) {
	central := start(t, collector.Options{})
	local := start(t, collector.Options{ForwardURL: central.url})
	a, s := newAgent("a"), newStory("a", "front")
	told, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		batches := tale(s, 1, 3)
		seen <- a.ship(t.Context(), local.url, func() *spoorv1.Batch {
			if len(batches) > 0 {
				b := batches[0]
				batches = nil
				return b
			}
			<-told
			return nil
		})
		a.transport.CloseIdleConnections()
	}()
	eventually(t, "a connected agent", func() bool { return central.status("a").GetConnected() })
	close(told)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	eventually(t, "an agent that is gone", func() bool { return !central.status("a").GetConnected() })
	same(t, local, central)
}

// TestForwardTellsWhatWasForgotten: what this collector forgot before it could forward it is a gap at the other one.
func TestForwardTellsWhatWasForgotten(t *testing.T) {
	dir := t.TempDir()
	local := start(t, collector.Options{DataDir: dir})
	a, s := newAgent("a"), newStory("a", "front")
	old := tale(s, 1, 10)
	for _, r := range old[0].GetRecords() {
		r.TimeUnixNano -= uint64(time.Hour)
	}
	local.ship(a, tale(s, 0, 0)...)
	local.ship(a, old...)
	local.ship(a, tale(s, 1, 5)...)
	if err := local.stop(); err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := st.Forget(t.Context(), time.Now().Add(-time.Minute)); err != nil || n != 10 {
		t.Fatalf("%d events were forgotten (%v)", n, err)
	}
	mustClose(t, st)
	centralDir := t.TempDir()
	central := start(t, collector.Options{DataDir: centralDir})
	local = start(t, collector.Options{DataDir: dir, ForwardURL: central.url})
	same(t, local, central)
	if err := central.stop(); err != nil {
		t.Fatal(err)
	}
	if st, err = sqlite.Open(sqlite.Options{Dir: centralDir, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, st)
	gaps, err := st.Gaps(t.Context(), store.Period{})
	if err != nil || len(gaps) != 1 || gaps[0].Source != store.SourceSequence || gaps[0].Count != 10 {
		t.Errorf("the gaps are %v (%v), want one of 10 events", gaps, err)
	}
}

// TestForwardKeepsTheClock: how far an agent's clock is off is told as it was measured.
func TestForwardKeepsTheClock(t *testing.T) {
	dir := t.TempDir()
	run := store.Run{Cluster: "test", Node: "a", Epoch: "e"}
	st, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	const skew = 5 * time.Minute
	ev := &spoorv1.Event{
		Id: 1, Sequence: 1, Epoch: "e", Node: "a", Kind: "loss", Time: timestamppb.New(time.Now().Add(skew)),
		Fact: &spoorv1.Event_Loss{Loss: &spoorv1.Loss{Source: "test", Reason: "test", Count: 1}},
	}
	if err := st.Write(t.Context(), &store.Write{
		Runs:    []store.Hello{{Run: run, Seen: time.Now()}},
		Batches: []store.Batch{{Run: run, Sequence: 1, Received: time.Now(), Skew: skew, Events: []*spoorv1.Event{ev}}},
	}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, st)
	centralDir := t.TempDir()
	central := start(t, collector.Options{DataDir: centralDir})
	same(t, start(t, collector.Options{DataDir: dir, ForwardURL: central.url}), central)
	if err := central.stop(); err != nil {
		t.Fatal(err)
	}
	if st, err = sqlite.Open(sqlite.Options{Dir: centralDir, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, st)
	runs, err := st.Runs(t.Context())
	if err != nil || len(runs) != 1 || (runs[0].Skew-skew).Abs() > time.Minute {
		t.Errorf("the other collector knows %v (%v), want a skew of %v", runs, err, skew)
	}
}
