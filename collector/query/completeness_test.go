// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// gaps compares the sentences with the beginnings of what they must be.
func gaps(t *testing.T, got *spoorv1.Completeness, want ...string) {
	t.Helper()
	ok := len(got.GetGaps()) == len(want) && got.GetComplete() == (len(want) == 0)
	for i := range want {
		ok = ok && strings.HasPrefix(got.GetGaps()[i], want[i])
	}
	if !ok {
		t.Errorf("complete: %v, gaps\n\t%s\nwant\n\t%s", got.GetComplete(), strings.Join(got.GetGaps(), "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestGaps(t *testing.T) {
	c := start(t, nil)
	c.commit(runA,
		wrote(60, "/a"), lost(70, "file", "name_unreadable", 12), lost(80, "socket", "map_full", 1),
		of("web", process("aa", "", 10), lost(90, "process", "ring_full", 3)), covers("udp", "off", "UDP is not seen: no cgroup"))
	c.commit(runB, wrote(100, "/b"))
	// Two events never came, and the next agent of node b was up 10 minutes later.
	hole := wrote(110, "/b")
	hole.Sequence = 4
	c.commit(runB, hole)
	next := runB
	next.Epoch = "second"
	c.hello(next, noon.Add(710*time.Second), noon.Add(720*time.Second))
	c.disconnected["b"] = true

	const (
		udp     = "node c1/a: the udp sensor is off: UDP is not seen: no cgroup"
		away    = "node c1/b: no agent reported from 2026-03-01 12:01:50 UTC to 2026-03-01 12:11:50 UTC"
		silent  = "node c1/b: its agent has been silent since 2026-03-01 12:12:00 UTC"
		names   = "node c1/a: 12 file names lost (name_unreadable), the last at 2026-03-01 12:01:10 UTC"
		flow    = "node c1/a: 1 connection fact lost (map_full: more happened at once than the kernel side keeps), at 2026-03-01 12:01:20 UTC"
		ring    = "node c1/a: 3 process events of c1/shop/Deployment/web lost (ring_full: the agent did not read the kernel's buffer in time), the last at 2026-03-01 12:01:30 UTC"
		missing = "node c1/b: 2 events that the agent numbered never came, the last at 2026-03-01 12:01:50 UTC"
	)
	for _, test := range []struct {
		name    string
		request *spoorv1.ListEventsRequest
		want    []string
	}{
		{"everything", &spoorv1.ListEventsRequest{}, []string{udp, away, silent, names, ring, flow, missing}},
		{"a node", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Node: "a"}}, []string{udp, names, ring, flow}},
		{"flows", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Node: "a", Kinds: []string{"flow"}}}, []string{udp, ring, flow}},
		{"files", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Node: "a", Kinds: []string{"file_write"}}}, []string{names, ring}},
		{"another workload", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Node: "a", Workload: "job"}}, []string{udp, names, flow}},
		{"another cluster", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Workload: "c2/shop/Deployment/web"}}, nil},
		{
			"a time before", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{From: at(-60), To: at(65), Node: "b"}},
			[]string{"nothing is stored from before 2026-03-01 12:00:00 UTC"},
		},
		{
			"a time without losses", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{From: at(300), To: at(400), Node: "b"}},
			[]string{"node c1/b: no agent reported from 2026-03-01 12:05:00 UTC to 2026-03-01 12:06:40 UTC"},
		},
		{"the first page", &spoorv1.ListEventsRequest{Limit: 2, Filter: &spoorv1.EventFilter{Node: "a"}}, []string{udp}},
		{
			"the newest page", &spoorv1.ListEventsRequest{Limit: 2, Newest: true, Filter: &spoorv1.EventFilter{Kinds: []string{"file_write"}}},
			[]string{away, silent, missing},
		},
		{"behind an event", &spoorv1.ListEventsRequest{AfterId: 3, Filter: &spoorv1.EventFilter{Node: "a"}}, []string{udp, ring, flow}},
		{"a process", &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{ExecId: "aa", From: at(85)}}, []string{udp, ring}},
	} {
		t.Run(test.name, func(t *testing.T) {
			gaps(t, ask(t, c.ListEvents, test.request).GetCompleteness(), test.want...)
		})
	}
	gaps(t, ask(t, c.ListFindings, &spoorv1.ListFindingsRequest{}).GetCompleteness(), udp, away, silent, names, ring, flow, missing)
	gaps(t, ask(t, c.ListEdges, &spoorv1.ListEdgesRequest{From: at(75), To: at(85)}).GetCompleteness(), udp, flow)
	gaps(t, ask(t, c.GetStatus, &spoorv1.GetStatusRequest{}).GetCompleteness(), udp, away, silent, names, ring, flow, missing)
	gaps(t, ask(t, c.GetTree, &spoorv1.GetTreeRequest{ExecId: "aa"}).GetCompleteness(), ring)
}

// What many small gaps have in common is told once.
func TestGapsAreSummedUp(t *testing.T) {
	c := start(t, nil)
	for i := range 4 {
		run := store.Run{Node: "n", Epoch: fmt.Sprint(i)}
		begun := noon.Add(time.Duration(i) * time.Hour)
		c.hello(run, begun, begun.Add(50*time.Minute))
	}
	answer := ask(t, c.ListFindings, &spoorv1.ListFindingsRequest{})
	gaps(t, answer.GetCompleteness(), "node n: no agent reported 3 times, 30m0s in all, the last from 2026-03-01 14:50:00 UTC to 2026-03-01 15:00:00 UTC")

	many := start(t, nil)
	for i := range 80 {
		node := fmt.Sprintf("n%02d", i)
		many.disconnected[node] = true
		many.hello(store.Run{Node: node, Epoch: "e"}, noon, noon)
	}
	got := ask(t, many.ListFindings, &spoorv1.ListFindingsRequest{}).GetCompleteness()
	if n := len(got.GetGaps()); n != 51 || !strings.HasPrefix(got.GetGaps()[50], "and 30 more gaps") || got.GetComplete() {
		t.Errorf("%d sentences for 80 silent nodes, the last is %q", n, got.GetGaps()[n-1])
	}
}
