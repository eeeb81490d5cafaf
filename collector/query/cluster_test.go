// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// TestClusters: every question can be about one cluster, and so are the gaps that stand beside its answer.
func TestClusters(t *testing.T) {
	c := start(t, nil)
	runs := []store.Run{{Cluster: "prod", Node: "a", Epoch: "first"}, {Cluster: "test", Node: "a", Epoch: "first"}}
	for i, run := range runs {
		c.hello(run, noon, noon)
		events := []*spoorv1.Event{
			of("web", process(strings.Repeat("ab"[i:i+1], 4), "", 10), called(1, fmt.Sprint("10.0.0.", i))),
			of("web", nil, covers("file", []string{"off", "base"}[i], "no reason")),
		}
		for _, ev := range events {
			ev.Instance.Workload.Cluster = run.Cluster
		}
		c.commit(run, events...)
		c.write(&store.Write{Findings: []store.FindingChange{{Finding: &spoorv1.Finding{
			Id: run.Cluster, Fingerprint: strings.Repeat(run.Cluster, 16), Rule: "flow.egress", State: spoorv1.FindingState_FINDING_STATE_OPEN, FirstSeen: at(1), LastSeen: at(1),
			StateChanged: at(1), Workload: events[0].GetInstance().GetWorkload(),
		}}}})
	}
	for _, test := range []struct{ cluster, want string }{
		{"", "events prod test; followed prod test; findings prod test; edges prod test; agents prod test; gaps true"},
		{"prod", "events prod; followed prod; findings prod; edges prod; agents prod; gaps true"},
		{"te*", "events test; followed test; findings test; edges test; agents test; gaps false"},
		{"live", "events; followed; findings; edges; agents; gaps false"},
	} {
		var said []string
		list := func(what string, clusters ...string) {
			line := what
			for _, name := range []string{"prod", "test"} {
				if slices.Contains(clusters, name) {
					line += " " + name
				}
			}
			said = append(said, line)
		}
		eventsOf := func(evs []*spoorv1.Event) (clusters []string) {
			for _, ev := range evs {
				clusters = append(clusters, ev.GetInstance().GetWorkload().GetCluster())
			}
			return clusters
		}
		filter := &spoorv1.EventFilter{Cluster: test.cluster}
		list("events", eventsOf(ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: filter}).GetEvents())...)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := c.FollowEvents(ctx, connect.NewRequest(&spoorv1.FollowEventsRequest{Filter: filter, AfterId: 0}))
		if err != nil {
			t.Fatal(err)
		}
		var followed []string
		for want := len(strings.Fields(strings.Split(test.want, ";")[0])) - 1; want > 0 && len(followed) < 2*want && stream.Receive(); {
			followed = append(followed, eventsOf(stream.Msg().GetEvents())...)
		}
		cancel()
		_ = stream.Close()
		list("followed", followed...)
		var found, ends, agents []string
		for _, f := range ask(t, c.ListFindings, &spoorv1.ListFindingsRequest{Cluster: test.cluster}).GetFindings() {
			found = append(found, f.GetWorkload().GetCluster())
		}
		list("findings", found...)
		for _, e := range ask(t, c.ListEdges, &spoorv1.ListEdgesRequest{Cluster: test.cluster}).GetEdges() {
			ends = append(ends, e.GetFrom().GetWorkload().GetCluster())
		}
		list("edges", ends...)
		status := ask(t, c.GetStatus, &spoorv1.GetStatusRequest{Cluster: test.cluster})
		for _, a := range status.GetAgents() {
			agents = append(agents, a.GetCluster())
		}
		list("agents", agents...)
		said = append(said, fmt.Sprint("gaps ", !status.GetCompleteness().GetComplete()))
		if got := strings.Join(said, "; "); got != test.want {
			t.Errorf("cluster %q: %s\nwant: %s", test.cluster, got, test.want)
		}
	}
}
