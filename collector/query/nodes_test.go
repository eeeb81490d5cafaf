// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
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
		{90*time.Second + time.Millisecond, "node c/n: its clock is 1m30s ahead of the collector's, and so are the times of its events"},
		{-2 * time.Hour, "node c/n: its clock is 2h0m0s behind the collector's, and so are the times of its events"},
	} {
		got := strings.Join((&node{name: nodeName("c", "n"), runs: []store.RunStatus{{Skew: test.skew}}}).skewed(), " ")
		if got != test.want {
			t.Errorf("of a skew of %v it is said %q, want %q", test.skew, got, test.want)
		}
	}
}
