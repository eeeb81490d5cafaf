// SPDX-License-Identifier: Apache-2.0

package completeness_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/completeness"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/testing/protocmp"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type known struct {
	gaps []store.Gap
	runs []store.RunStatus
}

func (k known) Gaps(context.Context, time.Time, time.Time) ([]store.Gap, error) { return k.gaps, nil }

func (k known) Runs(context.Context) ([]store.RunStatus, error) { return k.runs, nil }

func run(node, epoch string, seen time.Time) store.RunStatus {
	return store.RunStatus{Hello: store.Hello{Run: store.Run{Node: node, Epoch: epoch}, Seen: seen}}
}

func TestOf(t *testing.T) {
	web := &spoorv1.Workload{Kind: "Unit", Name: "web"}
	for _, c := range []struct {
		name  string
		known known
		scope completeness.Scope
		want  []string
	}{
		{name: "nothing is missing"},
		{
			name:  "losses",
			known: known{gaps: []store.Gap{{Node: "a", Source: "file", Reason: "ring_full", Count: 12}, {Cluster: "c", Node: "b", Source: "socket", Reason: "map_full", Count: 1, Workload: web}}},
			want:  []string{"node a: 12 file facts lost (ring_full)", "node c/b, Unit/web: 1 socket fact lost (map_full)"},
		},
		{
			name:  "a jump of the sequence",
			known: known{gaps: []store.Gap{{Node: "a", Source: store.SourceSequence, Count: 3}}},
			want:  []string{"node a: 3 events sent by the agent never came"},
		},
		{
			name:  "of another node",
			known: known{gaps: []store.Gap{{Node: "a", Source: "file", Reason: "ring_full", Count: 12}}, runs: []store.RunStatus{run("a", "1", now.Add(-time.Hour))}},
			scope: completeness.Scope{Node: "b"},
		},
		{
			name: "of another workload",
			known: known{gaps: []store.Gap{
				{Node: "a", Source: "file", Reason: "map_full", Count: 1, Workload: web},
				{Node: "a", Source: "file", Reason: "ring_full", Count: 2},
			}},
			scope: completeness.Scope{Workload: &store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "db"}},
			want:  []string{"node a: 2 file facts lost (ring_full)"}, // could be anybody's
		},
		{
			name: "silent agents",
			known: known{runs: []store.RunStatus{
				run("connected", "1", now.Add(-time.Hour)), run("fresh", "1", now.Add(-10*time.Second)),
				run("restarted", "1", now.Add(-time.Hour)), run("restarted", "2", now), run("silent", "1", now.Add(-time.Hour)), run("taken away", "1", now.Add(-25*time.Hour)),
			}},
			want: []string{"node silent: its agent is silent since 2026-03-01T11:00:00Z"},
		},
		{
			name:  "silent later than asked for",
			known: known{runs: []store.RunStatus{run("silent", "1", now.Add(-time.Hour))}},
			scope: completeness.Scope{To: now.Add(-time.Hour)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			teller := completeness.Teller{Store: c.known, Connected: func(r store.Run) bool { return r.Node == "connected" }}
			got, err := teller.Of(t.Context(), c.scope, now)
			if err != nil {
				t.Fatal(err)
			}
			want := &spoorv1.Completeness{Complete: len(c.want) == 0, Gaps: c.want}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}
