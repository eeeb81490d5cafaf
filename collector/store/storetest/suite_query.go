// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// eventWith makes an event of a process with a fact that set puts in.
func (w *world) eventWith(run int, p *spoorv1.Process, at time.Duration, set func(*spoorv1.Event)) *spoorv1.Event {
	w.nextID++
	w.sequences[w.runs[run]]++
	ev := &spoorv1.Event{
		Id: w.nextID, Sequence: w.sequences[w.runs[run]], Epoch: w.runs[run].Epoch, Node: w.runs[run].Node,
		Time: timestamppb.New(start.Add(at)), Process: p, Instance: w.owner[p],
	}
	set(ev)
	ev.Kind = store.KindOf(ev).String()
	return ev
}

func (w *world) batchOf(run int, evs ...*spoorv1.Event) store.Batch {
	w.batches[w.runs[run]]++
	return store.Batch{Run: w.runs[run], Sequence: w.batches[w.runs[run]], Received: start, Events: evs}
}

func started(ev *spoorv1.Event) {
	ev.Fact = &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}
}

func testTree(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(8)
	var evs []*spoorv1.Event
	for i, p := range w.processes[0] { // a binary tree: the parent of i is (i-1)/2
		evs = append(evs, w.eventWith(0, p, time.Duration(i)*time.Second, started))
	}
	evs = append(evs, w.eventWith(0, w.processes[0][4], time.Minute, func(ev *spoorv1.Event) {
		ev.Fact = &spoorv1.Event_ProcessExit{ProcessExit: &spoorv1.ProcessExit{Signal: 9}}
	}))
	s.write(&store.Write{Batches: []store.Batch{w.batchOf(0, evs...)}})
	nodes, cut, err := s.Tree(t.Context(), w.processes[0][1].GetExecId(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		line := fmt.Sprintf("%d %s %s %s", n.GetDepth(), n.GetProcess().GetArgs()[1], n.GetNode(), n.GetInstance().GetId())
		if n.GetExit() != nil {
			line += fmt.Sprintf(" killed by %d at %s", n.GetExit().GetSignal(), n.GetExitTime().AsTime().Format(time.TimeOnly))
		}
		got = append(got, line)
	}
	want := []string{
		"-1 0 node0 i0-0", "0 1 node0 i0-1", "1 3 node0 i0-3", "2 7 node0 i0-3", "2 8 node0 i0-0",
		"1 4 node0 i0-0 killed by 9 at 11:59:30", "2 9 node0 i0-1", "2 10 node0 i0-2",
	}
	if diff := cmp.Diff(want, got); diff != "" || cut {
		t.Errorf("tree (cut %v): want - got +\n%s", cut, diff)
	}
	nodes, cut, err = s.Tree(t.Context(), w.processes[0][0].GetExecId(), 5)
	if err != nil || len(nodes) != 5 || !cut {
		t.Errorf("a tree of at most 5 has %d nodes, cut %v (%v)", len(nodes), cut, err)
	}
	if _, _, err := s.Tree(t.Context(), "nobody", 5); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("tree of nobody: %v", err)
	}
	ids, err := s.ExecIDs(t.Context(), "a1", 10)
	if diff := cmp.Diff([]string{"a100000000000001", "a100000000000011"}, ids); err != nil || diff != "" {
		t.Errorf("exec ids: %v %s", err, diff)
	}
	if ids, err := s.ExecIDs(t.Context(), "", 3); err != nil || len(ids) != 3 {
		t.Errorf("3 of all exec ids: %v (%v)", ids, err)
	}
}

func testTreeCircle(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(9)
	a, b := &spoorv1.Process{ExecId: "a", ParentExecId: "b"}, &spoorv1.Process{ExecId: "b", ParentExecId: "a"}
	self := &spoorv1.Process{ExecId: "s", ParentExecId: "s"}
	s.write(&store.Write{Batches: []store.Batch{w.batchOf(0,
		w.eventWith(0, a, 0, started), w.eventWith(0, b, 0, started), w.eventWith(0, self, 0, started))}})
	for id, want := range map[string]int{"a": 2, "b": 2, "s": 1} {
		if nodes, _, err := s.Tree(t.Context(), id, 100); err != nil || len(nodes) != want {
			t.Errorf("tree of %s: %d nodes (%v), want %d", id, len(nodes), err, want)
		}
	}
}

// testVersions: what is said later of an instance or a process does not change what was said before.
func testVersions(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(10)
	early, late := w.processes[0][0], proto.CloneOf(w.processes[0][0])
	late.Comm = "renamed"
	named := proto.CloneOf(w.owner[early])
	named.PodName = "pod-1"
	w.owner[late] = named
	evs := []*spoorv1.Event{w.eventWith(0, early, 0, started), w.eventWith(0, late, time.Second, started), w.eventWith(0, early, 2*time.Second, started)}
	s.write(&store.Write{Batches: []store.Batch{w.batchOf(0, evs...)}})
	equalEvents(t, "versions", s.all(store.EventQuery{Limit: 10, ExecID: early.GetExecId()}), evs)
	nodes, _, err := s.Tree(t.Context(), early.GetExecId(), 10)
	if err != nil || len(nodes) != 1 || nodes[0].GetProcess().GetComm() != "renamed" {
		t.Errorf("the tree shows %v (%v), want the latest version", nodes, err)
	}
}

// flow makes a TCP flow of a process. Outbound the port is the peer's, inbound its own.
func flow(direction spoorv1.Direction, local, peer string, port, opened uint32, sent, received uint64) func(*spoorv1.Event) {
	return func(ev *spoorv1.Event) {
		f := &spoorv1.Flow{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: direction, Local: &spoorv1.Endpoint{Address: local}, Peer: &spoorv1.Endpoint{Address: peer},
			Opened: opened, BytesSent: sent, BytesReceived: received, First: ev.GetTime(), Last: ev.GetTime(),
		}
		if direction == spoorv1.Direction_DIRECTION_INBOUND {
			f.Local.Port = port
		} else {
			f.Peer.Port = port
		}
		ev.Fact = &spoorv1.Event_Flow{Flow: f}
	}
}

const (
	outbound = spoorv1.Direction_DIRECTION_OUTBOUND
	inbound  = spoorv1.Direction_DIRECTION_INBOUND
)

func testEdges(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(11)
	caller, called := w.processes[0][0], w.processes[1][1]
	from, to := w.owner[caller].GetWorkload(), w.owner[called].GetWorkload()
	name := func(ev *spoorv1.Event, wl *spoorv1.Workload) *spoorv1.Event {
		ev.GetFlow().GetPeer().Workload = wl
		return ev
	}
	s.write(&store.Write{Batches: []store.Batch{
		w.batchOf(0,
			name(w.eventWith(0, caller, 0, flow(outbound, "10.0.0.1", "10.0.0.2", 80, 2, 100, 5000)), to),
			// Across the hour.
			name(w.eventWith(0, caller, 5*time.Minute, flow(outbound, "10.0.0.1", "10.0.0.2", 80, 1, 50, 500)), to),
			w.eventWith(0, caller, time.Minute, func(ev *spoorv1.Event) {
				flow(outbound, "10.0.0.1", "1.2.3.4", 443, 0, 0, 0)(ev)
				ev.GetFlow().GetPeer().DnsName, ev.GetFlow().Refused, ev.GetFlow().TimedOut = "api.example.com", 3, 4
			}),
		),
		w.batchOf(1,
			name(w.eventWith(1, called, time.Second, flow(inbound, "10.0.0.2", "10.0.0.1", 80, 2, 5000, 100)), from),
			w.eventWith(1, called, time.Second, flow(inbound, "10.0.0.2", "9.9.9.9", 80, 7, 1, 2)),
		),
	}})
	edges, err := s.Edges(t.Context(), store.EdgeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	tcp := spoorv1.Transport_TRANSPORT_TCP
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(start.Add(d)) }
	want := []*spoorv1.Edge{
		{
			From: &spoorv1.Endpoint{Workload: from}, To: &spoorv1.Endpoint{Workload: to, Port: 80}, Transport: tcp, FirstSeen: at(0),
			LastSeen: at(5 * time.Minute), Opened: 3, BytesSent: 150, BytesReceived: 5500, SeenByCaller: true, SeenByCalled: true,
		},
		{
			From: &spoorv1.Endpoint{Workload: from}, To: &spoorv1.Endpoint{Address: "1.2.3.4", DnsName: "api.example.com", Port: 443}, Transport: tcp,
			FirstSeen: at(time.Minute), LastSeen: at(time.Minute), Refused: 3, TimedOut: 4, SeenByCaller: true,
		},
		{
			From: &spoorv1.Endpoint{Address: "9.9.9.9"}, To: &spoorv1.Endpoint{Workload: to, Port: 80}, Transport: tcp, FirstSeen: at(time.Second),
			LastSeen: at(time.Second), Opened: 7, BytesSent: 2, BytesReceived: 1, SeenByCalled: true,
		},
	}
	if diff := cmp.Diff(want, edges, protocmp.Transform()); diff != "" {
		t.Errorf("edges: want - got +\n%s", diff)
	}
	for _, c := range []struct {
		name string
		q    store.EdgeQuery
		want int
	}{
		{"caller's", store.EdgeQuery{Workload: mustPattern(t, "app0")}, 2},
		{"called's", store.EdgeQuery{Workload: mustPattern(t, "app1")}, 2},
		{"nobody's", store.EdgeQuery{Workload: mustPattern(t, "app9")}, 0},
		{"of the next hour", store.EdgeQuery{From: start.Add(3 * time.Minute)}, 1},
		{"before all", store.EdgeQuery{To: start}, 0},
		{"after all", store.EdgeQuery{From: start.Add(time.Hour)}, 0},
		{"one", store.EdgeQuery{Limit: 1}, 1},
	} {
		if edges, err := s.Edges(t.Context(), c.q); err != nil || len(edges) != c.want {
			t.Errorf("%s: %d edges (%v), want %d", c.name, len(edges), err, c.want)
		}
	}
}

func mustPattern(t *testing.T, text string) *store.Pattern {
	t.Helper()
	p, err := store.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// testLateNames: a flow whose other end becomes known after it was stored names it, and its edge moves.
func testLateNames(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(12)
	caller, called := w.processes[0][0], w.processes[1][1]
	from, to := w.owner[caller].GetWorkload(), w.owner[called].GetWorkload()
	one := w.eventWith(0, caller, 0, flow(outbound, "10.0.0.1", "10.0.0.2", 80, 2, 100, 5000))
	two := w.eventWith(0, caller, time.Second, flow(outbound, "10.0.0.1", "10.0.0.2", 80, 1, 10, 10))
	s.write(&store.Write{Batches: []store.Batch{w.batchOf(0, one, two)}})
	named := func(ev *spoorv1.Event) *spoorv1.Event {
		ev = proto.CloneOf(ev)
		ev.GetFlow().GetPeer().Workload, ev.GetFlow().GetPeer().ExecId = to, called.GetExecId()
		return ev
	}
	nowhere := named(one)
	nowhere.Id = 1 << 40
	other := w.eventWith(1, called, 0, flow(inbound, "10.0.0.2", "10.0.0.1", 80, 2, 5000, 100))
	other.GetFlow().GetPeer().Workload = from
	s.write(&store.Write{
		Batches: []store.Batch{w.batchOf(1, other)},
		Named:   []*spoorv1.Event{named(one), nowhere},
	})
	s.write(&store.Write{Named: []*spoorv1.Event{named(one)}}) // saying it again changes nothing
	for range 2 {
		evs := s.all(store.EventQuery{Limit: 10, ThroughID: two.GetId()})
		equalEvents(t, "events", evs, []*spoorv1.Event{named(one), two})
		edges, err := s.Edges(t.Context(), store.EdgeQuery{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]uint64{}
		for _, e := range edges {
			got[e.GetTo().GetWorkload().GetName()+e.GetTo().GetAddress()+fmt.Sprint(e.GetSeenByCaller(), e.GetSeenByCalled())] = e.GetOpened()
		}
		if diff := cmp.Diff(map[string]uint64{"app1true true": 2, "10.0.0.2true false": 1}, got); diff != "" {
			t.Errorf("edges: want - got +\n%s", diff)
		}
		s.reopen(open)
	}
	s.write(&store.Write{Named: []*spoorv1.Event{named(two)}})
	edges, err := s.Edges(t.Context(), store.EdgeQuery{})
	if err != nil || len(edges) != 1 || edges[0].GetOpened() != 3 {
		t.Errorf("edges after all flows were named: %v (%v), want one with 3 opened", edges, err)
	}
}

func testSQL(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(13)
	s.write(&store.Write{Batches: []store.Batch{w.batch(0, 200)}})
	ask := func(statement string) (*store.SQLResult, error) {
		return s.SQL(t.Context(), store.SQLQuery{Statement: statement, MaxRows: 50, Timeout: time.Minute})
	}
	for _, view := range []string{"events", "processes", "flows", "file_writes", "findings", "edges"} {
		res, err := ask("SELECT * FROM " + view)
		if err != nil {
			t.Errorf("%s: %v", view, err)
			continue
		}
		for _, row := range res.Rows {
			if len(row.GetValues()) != len(res.Columns) {
				t.Errorf("%s: %d values in %d columns", view, len(row.GetValues()), len(res.Columns))
			}
		}
	}
	res, err := ask("SELECT kind, min(time), count(*), 1.5, NULL FROM events WHERE id = 1 GROUP BY kind")
	if err != nil {
		t.Fatal(err)
	}
	first := s.all(store.EventQuery{Limit: 1000})[0]
	want := []*spoorv1.SQLValue{
		{Value: &spoorv1.SQLValue_Text{Text: first.GetKind()}},
		{Value: &spoorv1.SQLValue_Text{Text: first.GetTime().AsTime().Format("2006-01-02T15:04:05.000000000Z")}},
		{Value: &spoorv1.SQLValue_Integer{Integer: 1}},
		{Value: &spoorv1.SQLValue_Real{Real: 1.5}},
		{Value: &spoorv1.SQLValue_Null{Null: true}},
	}
	if diff := cmp.Diff(want, res.Rows[0].GetValues(), protocmp.Transform()); diff != "" {
		t.Errorf("values: want - got +\n%s", diff)
	}
	res, err = ask("SELECT id FROM events")
	if err != nil || len(res.Rows) != 50 || !res.More {
		t.Errorf("200 rows, at most 50: %d, more %v (%v)", len(res.Rows), res.More, err)
	}
	for _, bad := range []string{"", "  ", "SELEC 1", "SELECT nothing FROM events", "SELECT 1; SELECT 2", "DROP VIEW events", "SELECT ?"} {
		var q *store.QueryError
		if _, err := ask(bad); !errors.As(err, &q) || strings.TrimSpace(q.Problem) == "" {
			t.Errorf("%q: %v, want a QueryError", bad, err)
		}
	}
	if n := len(s.all(store.EventQuery{Limit: 1000})); n != 200 {
		t.Errorf("%d events after the statements, want 200", n)
	}
}

func testForget(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(14)
	var want []*spoorv1.Event
	bound := start.Add(30 * time.Minute)
	for i := range 20 {
		b := w.batch(i%3, 10)
		for _, ev := range b.Events {
			if i >= 10 {
				ev.Time = timestamppb.New(ev.GetTime().AsTime().Add(time.Hour))
				want = append(want, ev)
			}
		}
		s.write(&store.Write{Batches: []store.Batch{b}})
	}
	n, err := s.Forget(t.Context(), bound)
	if err != nil || n != 100 {
		t.Fatalf("forgot %d events (%v), want 100", n, err)
	}
	equalEvents(t, "what is left", s.all(store.EventQuery{Limit: 1000}), want)
	stats, err := s.Stats(t.Context())
	if err != nil || stats.Events != 100 || stats.Oldest.Before(bound) || stats.Bytes == 0 {
		t.Errorf("statistics %+v (%v): want 100 events, none older than %v", stats, err, bound)
	}
	forgotten(t, stats, store.ForgottenAge, 100, bound.Add(-time.Minute), bound)
	// What was known of forgotten entities must not be used for new events.
	b := w.batch(0, 50)
	for _, ev := range b.Events {
		ev.Time = timestamppb.New(ev.GetTime().AsTime().Add(time.Hour))
	}
	s.write(&store.Write{Batches: []store.Batch{b}})
	equalEvents(t, "with new events", s.all(store.EventQuery{Limit: 1000}), append(want, b.Events...))
	if n, err = s.Forget(t.Context(), start.Add(100*time.Hour)); err != nil || n != 150 {
		t.Errorf("forgot %d events (%v), want 150", n, err)
	}
	s.reopen(open)
	if stats, err = s.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
	forgotten(t, stats, store.ForgottenAge, 250, start.Add(100*time.Hour-time.Minute), start.Add(100*time.Hour))
	if last, err := s.LastID(t.Context()); err != nil || last != 250 {
		t.Errorf("last id %d (%v): ids must not be given twice", last, err)
	}
	if n, err = s.Forget(t.Context(), start.Add(100*time.Hour)); err != nil || n != 0 {
		t.Errorf("forgot %d events of an empty store (%v)", n, err)
	}
}

// forgotten checks the one entry of Stats.Forgotten.
func forgotten(t *testing.T, stats *store.Stats, reason string, events uint64, after, until time.Time) {
	t.Helper()
	if len(stats.Forgotten) != 1 {
		t.Fatalf("forgotten: %+v, want one reason", stats.Forgotten)
	}
	f := stats.Forgotten[0]
	if f.Reason != reason || f.Events != events || f.Before.Before(after) || f.Before.After(until) || time.Since(f.At) > time.Hour {
		t.Errorf("forgotten: %+v, want %d events for %s from before a time between %v and %v", f, events, reason, after, until)
	}
}

// testShrink: the oldest events go until what is stored fits, the newest stay, and it is known what went.
func testShrink(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(16)
	var all []*spoorv1.Event
	for i := range 20 {
		b := w.batch(i%3, 150)
		all = append(all, b.Events...)
		s.write(&store.Write{Batches: []store.Batch{b}})
	}
	before, err := s.Stats(t.Context())
	if err != nil || before.Used == 0 || before.Used > before.Bytes {
		t.Fatalf("statistics %+v (%v)", before, err)
	}
	if n, err := s.Shrink(t.Context(), int64(before.Used)); err != nil || n != 0 {
		t.Fatalf("a store that fits lost %d events (%v)", n, err)
	}
	limit := int64(before.Used / 10 * 9)
	n, err := s.Shrink(t.Context(), limit)
	if err != nil || n < len(all)/20 || n > len(all)*2/3 {
		t.Fatalf("forgot %d of %d events (%v) to need a tenth less room", n, len(all), err)
	}
	left := all[n:]
	equalEvents(t, "what is left", s.all(store.EventQuery{Limit: 20000}), left)
	after, err := s.Stats(t.Context())
	if err != nil || int64(after.Used) > limit || after.Events != uint64(len(left)) {
		t.Errorf("statistics %+v (%v): want %d events in %d bytes", after, err, len(left), limit)
	}
	newest := all[n-1].GetTime().AsTime() // within two seconds of the newest that went
	forgotten(t, after, store.ForgottenSize, uint64(n), newest.Add(-2*time.Second), newest.Add(time.Minute+2*time.Second))
	// What fits goes on to fit, and new events find room.
	if n, err := s.Shrink(t.Context(), limit); err != nil || n != 0 {
		t.Errorf("it lost %d events again (%v)", n, err)
	}
	b := w.batch(0, 100)
	s.write(&store.Write{Batches: []store.Batch{b}})
	equalEvents(t, "with new events", s.all(store.EventQuery{Limit: 10000}), append(slices.Clone(left), b.Events...))
	// A limit that cannot be held costs no more than what may go.
	if n, err := s.Shrink(t.Context(), 1); !errors.Is(err, store.ErrNotShrunk) || n == 0 {
		t.Errorf("to one byte: %d events, %v, want ErrNotShrunk", n, err)
	}
	if rest := s.all(store.EventQuery{Limit: 10000}); len(rest) != 1000 || rest[999].GetId() != b.Events[99].GetId() {
		t.Errorf("%d events are left, want the newest 1000", len(rest))
	}
}

// testConcurrent: readers see whole transactions and no errors while batches are written.
func testConcurrent(t *testing.T, open Open) {
	s := begin(t, open)
	w := newWorld(15)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				page, err := s.Events(t.Context(), store.EventQuery{Limit: math.MaxInt32})
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				if len(page.Events)%20 != 0 || int(page.Through) != len(page.Events) {
					t.Errorf("a reader saw %d events through %d: batches have 20", len(page.Events), page.Through)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 60 {
		s.write(&store.Write{Batches: []store.Batch{w.batch(i%3, 20)}})
	}
	close(done)
	wg.Wait()
}
