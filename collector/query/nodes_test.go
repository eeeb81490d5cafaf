// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// registry is a store that knows runs and nothing else.
type registry struct {
	store.Store
	runs  []store.RunStatus
	asked int
}

func (r *registry) Runs(context.Context) ([]store.RunStatus, error) {
	r.asked++
	return r.runs, nil
}

func TestManyRunsAreNotReadForEachAnswer(t *testing.T) {
	for _, test := range []struct{ runs, asked int }{{manyRuns - 1, 4}, {manyRuns, 2}} {
		now := time.Unix(1000, 0)
		r := &registry{}
		for i := range test.runs {
			r.runs = append(r.runs, store.RunStatus{Hello: store.Hello{Run: store.Run{Node: fmt.Sprint("node-", i/2), Epoch: fmt.Sprint(i)}}})
		}
		s := &Service{o: Options{Store: r, Now: func() time.Time { return now }, Connected: func(string, string) bool { return true }}}
		for range 4 {
			nodes, err := s.nodes(t.Context())
			if err != nil || len(nodes) != (test.runs+1)/2 {
				t.Fatalf("%d nodes of %d runs (%v)", len(nodes), test.runs, err)
			}
			now = now.Add(freshFor/3 + time.Millisecond)
		}
		if r.asked != test.asked {
			t.Errorf("for four answers in 1.3 s about %d runs the store was asked %d times, want %d", test.runs, r.asked, test.asked)
		}
	}
}

func TestSkewed(t *testing.T) {
	for _, test := range []struct {
		skew time.Duration
		want string
	}{
		{0, ""},
		{maxAhead, ""},
		{-maxBehind, ""},
		{90*time.Second + time.Millisecond, "node c/n: its clock is 1m30s ahead of the collector's, and so are the times that it gave: those of events are corrected, those of edges and findings are not"},
		{-2 * time.Hour, "node c/n: its clock is 2h0m0s behind the collector's, and so are the times that it gave: those of events are corrected, those of edges and findings are not"},
	} {
		got := strings.Join((&node{name: nodeName("c", "n"), runs: []store.RunStatus{{Skew: test.skew}}}).skewed(), " ")
		if got != test.want {
			t.Errorf("of a skew of %v it is said %q, want %q", test.skew, got, test.want)
		}
	}
}

// TestCorrect: of two nodes one has a clock that is ahead; an earlier run of its agent had none that was.
func TestCorrect(t *testing.T) {
	at := time.Unix(1000, 0)
	event := func(node, epoch string) *spoorv1.Event {
		return &spoorv1.Event{Node: node, Epoch: epoch, Time: timestamppb.New(at)}
	}
	evs := []*spoorv1.Event{event("a", "now"), event("a", "before"), event("b", "x"), event("c", "y")}
	run := func(node, epoch string, skew time.Duration) store.RunStatus {
		return store.RunStatus{Hello: store.Hello{Run: store.Run{Node: node, Epoch: epoch}}, Skew: skew}
	}
	correct(evs, clocks([]node{
		{runs: []store.RunStatus{run("a", "before", time.Second), run("a", "now", 90*time.Second)}},
		{runs: []store.RunStatus{run("b", "x", maxAhead)}},
		{runs: []store.RunStatus{run("c", "y", -time.Hour)}},
	}))
	for i, want := range []time.Duration{-90 * time.Second, 0, 0, time.Hour} {
		if !evs[i].GetTime().AsTime().Equal(at) {
			t.Errorf("event %d: what the node said was changed to %v", i, evs[i].GetTime().AsTime())
		}
		if got := evs[i].GetCorrectedTime(); want == 0 && got != nil || want != 0 && !got.AsTime().Equal(at.Add(want)) {
			t.Errorf("event %d is corrected to %v, want by %v", i, got, want)
		}
	}
}
