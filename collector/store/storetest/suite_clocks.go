// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// testClocks: of three nodes one has a clock that is right, one is hours ahead and one lives in another century. What happened in a period is
// found by what the clocks should have shown, page by page, with all filters, and so are gaps.
func testClocks(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(17)
	ahead := []time.Duration{0, 3 * time.Hour, -40 * 365 * 24 * time.Hour}
	var all []*spoorv1.Event
	for i := range 18 {
		if i == 7 {
			w.sequences[w.runs[1]] += 5
		}
		b := w.batch(i%3, 25)
		for _, ev := range b.Events {
			ev.Time = timestamppb.New(ev.GetTime().AsTime().Add(ahead[i%3]))
		}
		all = append(all, b.Events...)
		s.write(&store.Write{Batches: []store.Batch{b}})
	}
	clocks := []store.Clock{
		{Run: w.runs[1], Ahead: ahead[1]},
		{Run: w.runs[2], Ahead: ahead[2]},
		{Run: store.Run{Cluster: "c1", Node: "node0", Epoch: "of another run"}, Ahead: time.Hour},
	}
	many := slices.Clone(clocks)
	for i := range 5000 {
		many = append(many, store.Clock{Run: store.Run{Cluster: "a-cluster-with-a-name", Node: fmt.Sprintf("node-%d.example.org", i), Epoch: "mfrggzdfmztwq2lknnwg23tpobyxe43u"}, Ahead: time.Hour + time.Duration(i)})
	}
	from, to := start.Add(12*time.Second), start.Add(28*time.Second)
	for name, q := range map[string]store.EventQuery{
		"from":              {Period: store.Period{From: from, Clocks: clocks}},
		"to":                {Period: store.Period{To: to, Clocks: clocks}},
		"both":              {Period: store.Period{From: from, To: to, Clocks: clocks}},
		"an event's time":   {Period: store.Period{From: corrected(&store.Period{Clocks: clocks}, all[101]), To: corrected(&store.Period{Clocks: clocks}, all[330]), Clocks: clocks}},
		"no bound":          {Period: store.Period{Clocks: clocks}},
		"one clock":         {Period: store.Period{From: from, To: to, Clocks: clocks[1:2]}},
		"many clocks":       {Period: store.Period{From: from, To: to, Clocks: many}},
		"as nodes told":     {Period: store.Period{From: from, To: to}},
		"told hours later":  {Period: store.Period{From: from.Add(ahead[1]), To: to.Add(ahead[1])}},
		"node":              {Period: store.Period{From: from, To: to, Clocks: clocks}, Node: "node1"},
		"kinds":             {Period: store.Period{From: from, To: to, Clocks: clocks}, Kinds: []store.Kind{store.KindFileWrite}},
		"rare kinds":        {Period: store.Period{From: from, To: to, Clocks: clocks}, Kinds: []store.Kind{store.KindLoss}},
		"workload":          {Period: store.Period{From: from, To: to, Clocks: clocks}, Workload: &store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "app1"}},
		"process":           {Period: store.Period{From: from, To: to, Clocks: clocks}, ExecID: "b300000000000003"},
		"path":              {Period: store.Period{From: from, To: to, Clocks: clocks}, PathPrefix: "/var/lib/app"},
		"address":           {Period: store.Period{From: from, To: to, Clocks: clocks}, Address: "10.0.0.3"},
		"behind some event": {Period: store.Period{From: from, To: to, Clocks: clocks}, AfterID: 200},
	} {
		var want []*spoorv1.Event
		for _, ev := range all {
			if matches(&q, ev) {
				want = append(want, ev)
			}
		}
		if len(want) == 0 {
			t.Errorf("%s: the test data have nothing that matches", name)
		}
		for _, limit := range []int{7, 1000} {
			q.Limit, q.Newest = limit, false
			equalEvents(t, name, s.all(q), want)
			q.Newest = true
			page, err := s.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if page.More != (len(want) > limit) {
				t.Errorf("%s, the newest %d: more is %v with %d matches", name, limit, page.More, len(want))
			}
			equalEvents(t, name+", newest", page.Events, want[max(0, len(want)-limit):])
		}
	}

	for _, p := range []store.Period{{From: from, To: to, Clocks: clocks}, {Clocks: clocks}, {From: from, To: to}} {
		gaps, err := s.Gaps(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		// The event behind the missing ones tells when that was.
		want := lost(&p, all)
		if at := corrected(&p, all[7*25]); matches(&store.EventQuery{Period: p}, all[7*25]) {
			want = append(want, store.Gap{Cluster: "c1", Node: "node1", Time: at, Source: store.SourceSequence, Reason: "missing", Count: 5})
		}
		order := func(a, b store.Gap) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Workload.Path(), b.Workload.Path()))
		}
		slices.SortFunc(gaps, order)
		slices.SortFunc(want, order)
		if diff := gocmp.Diff(want, gaps, protocmp.Transform(), gocmp.Comparer(time.Time.Equal)); diff != "" {
			t.Errorf("gaps from %v to %v with %d clocks: want - got +\n%s", p.From, p.To, len(p.Clocks), diff)
		}
	}
}

// lost sums up what events of a period tell of losses.
func lost(p *store.Period, evs []*spoorv1.Event) (gaps []store.Gap) {
	for _, ev := range evs {
		l := ev.GetLoss()
		if l == nil || !matches(&store.EventQuery{Period: *p}, ev) {
			continue
		}
		w, at := ev.GetInstance().GetWorkload(), corrected(p, ev)
		i := slices.IndexFunc(gaps, func(g store.Gap) bool { return g.Node == ev.GetNode() && g.Workload.Path() == w.Path() })
		if i < 0 {
			i = len(gaps)
			gaps = append(gaps, store.Gap{Cluster: "c1", Node: ev.GetNode(), Time: at, Source: l.GetSource(), Reason: l.GetReason(), Workload: w})
		}
		gaps[i].Count += l.GetCount()
		if at.After(gaps[i].Time) {
			gaps[i].Time = at
		}
	}
	return gaps
}
