// SPDX-License-Identifier: Apache-2.0

// Package storetest holds the promises of store.Store as tests. An engine's own test calls Run; it must not know any
// engine.
package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Open opens the store of a test, which lives below dir: opening the same dir again finds what was written. The suite
// closes what it opens.
type Open func(t *testing.T, dir string) store.Store

// Run checks every promise, or only those that are named.
func Run(t *testing.T, open Open, only ...string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"Lossless", testLossless},
		{"Duplicates", testDuplicates},
		{"Atomic", testAtomic},
		{"Reopen", testReopen},
		{"Filters", testFilters},
		{"Clocks", testClocks},
		{"Paging", testPaging},
		{"Runs", testRuns},
		{"Gaps", testGaps},
		{"Tree", testTree},
		{"TreeCircle", testTreeCircle},
		{"Versions", testVersions},
		{"Edges", testEdges},
		{"LateNames", testLateNames},
		{"Findings", testFindings},
		{"Outbox", testOutbox},
		{"SQL", testSQL},
		{"Forget", testForget},
		{"Shrink", testShrink},
		{"Concurrent", testConcurrent},
	} {
		if len(only) == 0 || slices.Contains(only, c.name) {
			t.Run(c.name, func(t *testing.T) { c.test(t, open) })
		}
	}
}

// opened is a store that the test closes at its end, or earlier.
type opened struct {
	store.Store
	t      *testing.T
	dir    string
	closed bool
}

func begin(t *testing.T, open Open) *opened {
	t.Helper()
	s := &opened{t: t, dir: t.TempDir()}
	s.Store = open(t, s.dir)
	t.Cleanup(func() {
		if s.closed {
			return // a test that could not reopen it
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func (s *opened) reopen(open Open) {
	s.t.Helper()
	s.closed = true
	if err := s.Close(); err != nil {
		s.t.Fatalf("close: %v", err)
	}
	s.Store = open(s.t, s.dir)
	s.closed = false
}

func (s *opened) write(w *store.Write) {
	s.t.Helper()
	if err := s.Write(s.t.Context(), w); err != nil {
		s.t.Fatalf("write: %v", err)
	}
}

// all returns every event, page by page.
func (s *opened) all(q store.EventQuery) []*spoorv1.Event {
	s.t.Helper()
	var evs []*spoorv1.Event
	for {
		page, err := s.Events(s.t.Context(), q)
		if err != nil {
			s.t.Fatalf("events: %v", err)
		}
		evs = append(evs, page.Events...)
		if !page.More {
			return evs
		}
		if len(page.Events) != q.Limit {
			s.t.Fatalf("a page with more to come has %d events, not %d", len(page.Events), q.Limit)
		}
		q.AfterID = page.Through
	}
}

func equalEvents(t *testing.T, what string, got, want []*spoorv1.Event) {
	t.Helper()
	if slices.EqualFunc(got, want, func(a, b *spoorv1.Event) bool { return proto.Equal(a, b) }) {
		return
	}
	if diff := cmp.Diff(want, got, protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s: want - got +\n%s", what, diff)
	}
}

var testRun = store.Run{Cluster: "c", Node: "n", Epoch: "e"}

func testLossless(t *testing.T, open Open) {
	s := begin(t, open)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var want []*spoorv1.Event
	for sequence := range uint64(20) {
		b := store.Batch{Run: testRun, Sequence: sequence + 1, Received: start}
		for range 50 {
			b.Events = append(b.Events, anyEvent(r, testRun, uint64(len(want)+1)))
			want = append(want, b.Events[len(b.Events)-1])
		}
		s.write(&store.Write{Batches: []store.Batch{b}})
	}
	equalEvents(t, "all events", s.all(store.EventQuery{Limit: 300}), want)
	s.reopen(open)
	equalEvents(t, "all events after reopening", s.all(store.EventQuery{Limit: 300}), want)
	byID, err := s.EventsByID(t.Context(), []uint64{7, 3, 7, 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	equalEvents(t, "by id", byID, []*spoorv1.Event{want[2], want[6]})
}

func testDuplicates(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(1)
	one, two := w.batch(0, 5), w.batch(0, 5)
	other := w.batch(1, 3)
	s.write(&store.Write{Batches: []store.Batch{one, two, other}})
	s.write(&store.Write{Batches: []store.Batch{one}})
	s.write(&store.Write{Batches: []store.Batch{one, two, other}})
	s.reopen(open)
	s.write(&store.Write{Batches: []store.Batch{two}})
	if n := len(s.all(store.EventQuery{Limit: 100})); n != 13 {
		t.Errorf("%d events after repeated writes, want 13", n)
	}
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Events != 13 {
		t.Errorf("statistics count %d events, want 13", stats.Events)
	}
}

func testAtomic(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(2)
	good, bad := w.batch(0, 10), w.batch(0, 10)
	bad.Events[9].Time = &timestamppb.Timestamp{Seconds: 1 << 60}
	if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{good, bad}, Findings: []store.FindingChange{{Finding: finding(1, isOpen)}}}); err == nil {
		t.Fatal("a time that cannot be kept was taken")
	}
	if evs := s.all(store.EventQuery{Limit: 100}); len(evs) != 0 {
		t.Fatalf("%d events of a write that failed", len(evs))
	}
	if all, err := s.Findings(t.Context(), store.FindingQuery{}); err != nil || len(all) != 0 {
		t.Fatalf("%d findings (%v) of a write that failed", len(all), err)
	}
	// What the failed write would have made must not be taken for made.
	s.write(&store.Write{Batches: []store.Batch{good}})
	equalEvents(t, "the same batch again", s.all(store.EventQuery{Limit: 100}), good.Events)
}

func testReopen(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(3)
	var want []*spoorv1.Event
	for i := range 6 {
		b := w.batch(i%3, 20)
		want = append(want, b.Events...)
		s.write(&store.Write{Batches: []store.Batch{b}})
		s.reopen(open)
	}
	equalEvents(t, "events", s.all(store.EventQuery{Limit: 1000}), want)
	if last, err := s.LastID(t.Context()); err != nil || last != 120 {
		t.Errorf("last id %d (%v), want 120", last, err)
	}
}

func testFilters(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(4)
	var want []*spoorv1.Event
	for i := range 16 {
		b := w.batch(i%3, 25)
		want = append(want, b.Events...)
		s.write(&store.Write{Batches: []store.Batch{b}})
	}
	pattern := func(text string) *store.Pattern {
		p, err := store.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// One choice of each field, and all pairs of choices.
	choices := []struct {
		name  string
		apply func(*store.EventQuery)
	}{
		{"nothing", func(*store.EventQuery) {}},
		{"from", func(q *store.EventQuery) { q.From = start.Add(12 * time.Second) }},
		{"from later than all", func(q *store.EventQuery) { q.From = start.Add(300 * time.Hour) }},
		{"to", func(q *store.EventQuery) { q.To = start.Add(28 * time.Second) }},
		{"to an event's own time", func(q *store.EventQuery) { q.To = want[200].GetTime().AsTime() }},
		{"kinds", func(q *store.EventQuery) { q.Kinds = []store.Kind{store.KindFlow, store.KindProcessStart} }},
		{"rare kinds", func(q *store.EventQuery) { q.Kinds = []store.Kind{store.KindLoss, store.KindListen} }},
		{"unknown kind", func(q *store.EventQuery) { q.Kinds = []store.Kind{store.KindUnknown} }},
		{"workload", func(q *store.EventQuery) { q.Workload = pattern("app1") }},
		{"workloads", func(q *store.EventQuery) { q.Workload = pattern("shop/Deploy*/app*") }},
		{"no workload", func(q *store.EventQuery) { q.Workload = pattern("c2/*/*/*") }},
		{"node", func(q *store.EventQuery) { q.Node = "node2" }},
		{"process", func(q *store.EventQuery) { q.ExecID = "a300000000000003" }},
		{"unknown process", func(q *store.EventQuery) { q.ExecID = "nobody" }},
		{"directory", func(q *store.EventQuery) { q.PathPrefix = "/var/lib/app/" }},
		{"part of a name", func(q *store.EventQuery) { q.PathPrefix = "/var/lib/app" }},
		{"glob in a path", func(q *store.EventQuery) { q.PathPrefix = "/v*r/x_" }},
		{"part of a character", func(q *store.EventQuery) { q.PathPrefix = "/tmp/ü" }},
		{"address", func(q *store.EventQuery) { q.Address = "10.0.0.3" }},
		{"after", func(q *store.EventQuery) { q.AfterID = 160 }},
		{"through", func(q *store.EventQuery) { q.ThroughID = 240 }},
	}
	for i, a := range choices {
		for _, b := range choices[i:] {
			q := store.EventQuery{Limit: 37}
			a.apply(&q)
			b.apply(&q)
			var expected []*spoorv1.Event
			for _, ev := range want {
				if matches(&q, ev) {
					expected = append(expected, ev)
				}
			}
			equalEvents(t, a.name+" and "+b.name, s.all(q), expected)
			if q.AfterID == 160 && q.ExecID == "" && len(expected) == 0 && a.name == b.name {
				t.Errorf("%s: the test data have nothing that matches", a.name)
			}
			q.Newest = true
			page, err := s.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if page.More != (len(expected) > q.Limit) {
				t.Errorf("%s and %s, newest: more is %v with %d matches", a.name, b.name, page.More, len(expected))
			}
			equalEvents(t, a.name+" and "+b.name+", newest", page.Events, expected[max(0, len(expected)-q.Limit):])
		}
	}
}

func testPaging(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(5)
	// A page that is empty still says how far it looked, so that who follows does not look there again.
	page, err := s.Events(t.Context(), store.EventQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if page.Through != 0 || page.More || len(page.Events) != 0 {
		t.Fatalf("an empty store answers %+v", page)
	}
	s.write(&store.Write{Batches: []store.Batch{w.batch(0, 50)}})
	page, err = s.Events(t.Context(), store.EventQuery{Limit: 10, ExecID: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	if page.Through != 50 || len(page.Events) != 0 {
		t.Fatalf("a query without matches looked through %d, want 50", page.Through)
	}
	for _, limit := range []int{1, 7, 49, 50, 51} {
		if n := len(s.all(store.EventQuery{Limit: limit})); n != 50 {
			t.Errorf("pages of %d: %d events, want 50", limit, n)
		}
	}
	if _, err := s.Events(t.Context(), store.EventQuery{}); err == nil {
		t.Error("a page without a limit was answered")
	}
}

func testRuns(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(6)
	hello := store.Hello{
		Run: w.runs[0], BootID: "boot", Version: "v1", KernelRelease: "6.1", Architecture: "x86_64", Start: start, Seen: start.Add(time.Second),
	}
	s.write(&store.Write{Runs: []store.Hello{hello}})
	b := w.batch(0, 3)
	b.Skew = 2 * time.Second
	b.Received = start.Add(time.Minute)
	coverage := func(sensor, tier string, after time.Duration) *spoorv1.Event {
		ev := w.event(0)
		ev.Time = timestamppb.New(start.Add(after))
		ev.Fact = &spoorv1.Event_Coverage{Coverage: &spoorv1.Coverage{Sensor: sensor, Tier: tier, Reason: "because"}}
		ev.Kind = "coverage"
		return ev
	}
	b.Events = append(b.Events, coverage("socket", "full", 0), coverage("file", "full", time.Second), coverage("file", "base", 2*time.Second), coverage("file", "off", 0))
	s.write(&store.Write{Batches: []store.Batch{b}})
	// An older run of the same node, and a run that never said hello.
	older := store.Run{Cluster: "c1", Node: "node0", Epoch: "older"}
	s.write(&store.Write{Batches: []store.Batch{{Run: older, Sequence: 9, Received: start.Add(-time.Hour)}}})
	s.reopen(open)
	runs, err := s.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello.Seen = b.Received
	want := []store.RunStatus{
		{Hello: store.Hello{Run: older, Seen: start.Add(-time.Hour)}, Acknowledged: 9},
		{Hello: hello, Acknowledged: 1, LastSequence: 7, Skew: 2 * time.Second, Coverage: []*spoorv1.Coverage{
			{Sensor: "file", Tier: "base", Reason: "because"}, {Sensor: "socket", Tier: "full", Reason: "because"},
		}},
	}
	if diff := cmp.Diff(want, runs, protocmp.Transform()); diff != "" {
		t.Errorf("runs: want - got +\n%s", diff)
	}
}

func testGaps(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(7)
	lost := func(p int, at time.Duration, count uint64) *spoorv1.Event {
		ev := w.event(0)
		ev.Time, ev.Kind = timestamppb.New(start.Add(at)), "loss"
		ev.Process, ev.Instance = nil, nil
		if p >= 0 {
			ev.Instance = w.instances[0][p]
		}
		ev.Fact = &spoorv1.Event_Loss{Loss: &spoorv1.Loss{Source: "file", Reason: "map_full", Count: count}}
		return ev
	}
	b := store.Batch{Run: w.runs[0], Sequence: 1, Received: start, Events: []*spoorv1.Event{
		lost(-1, 0, 3), lost(-1, time.Minute, 4), lost(1, 2*time.Minute, 5),
	}}
	w.sequences[w.runs[0]] += 10
	b.Events = append(b.Events, lost(-1, 3*time.Minute, 1))
	s.write(&store.Write{Batches: []store.Batch{b}})
	gaps, err := s.Gaps(t.Context(), store.Period{From: start, To: start.Add(10 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Gap{
		{Cluster: "c1", Node: "node0", Time: start.Add(3 * time.Minute), Source: "file", Reason: "map_full", Count: 8},
		{Cluster: "c1", Node: "node0", Time: start.Add(2 * time.Minute), Source: "file", Reason: "map_full", Count: 5, Workload: w.instances[0][1].GetWorkload()},
		{Cluster: "c1", Node: "node0", Time: start.Add(3 * time.Minute), Source: store.SourceSequence, Reason: "missing", Count: 10},
	}
	order := func(a, b store.Gap) int {
		return slices.Compare([]string{a.Source, fmt.Sprint(a.Workload != nil)}, []string{b.Source, fmt.Sprint(b.Workload != nil)})
	}
	slices.SortFunc(gaps, order)
	slices.SortFunc(want, order)
	if diff := cmp.Diff(want, gaps, protocmp.Transform()); diff != "" {
		t.Errorf("gaps: want - got +\n%s", diff)
	}
	gaps, err = s.Gaps(t.Context(), store.Period{From: start, To: start.Add(90 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if len(gaps) != 1 || gaps[0].Count != 7 {
		t.Errorf("gaps of the first 90 seconds: %+v, want one of 7", gaps)
	}
	// A run that begins above 1 lacks its beginning.
	late := w.batch(1, 1)
	late.Events[0].Sequence = 4
	s.write(&store.Write{Batches: []store.Batch{late}})
	gaps, err = s.Gaps(t.Context(), store.Period{})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(gaps, func(g store.Gap) bool { return g.Node == "node1" && g.Source == store.SourceSequence }); i < 0 || gaps[i].Count != 3 {
		t.Errorf("gaps: %+v, want 3 missing on node1", gaps)
	}
}
