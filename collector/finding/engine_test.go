// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"github.com/spoor/spoor/contract"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	isOpen         = spoorv1.FindingState_FINDING_STATE_OPEN
	isAcknowledged = spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED
	isResolved     = spoorv1.FindingState_FINDING_STATE_RESOLVED
	isExpired      = spoorv1.FindingState_FINDING_STATE_EXPIRED
)

// script is a judge that says what the exec id of an event's process tells it to: "raise SUBJECT", "clear SUBJECT".
type script struct {
	seen  []uint64
	ticks []time.Time
	// atTick is said at the next tick.
	atTick []contract.Verdict
}

func (s *script) Observe(ev *spoorv1.Event) []contract.Verdict {
	s.seen = append(s.seen, ev.GetId())
	word, subject, _ := strings.Cut(ev.GetProcess().GetExecId(), " ")
	switch word {
	case "raise", "clear":
		return []contract.Verdict{verdict(subject, word == "clear", ev)}
	}
	return nil
}

func (s *script) Tick(now time.Time) []contract.Verdict {
	s.ticks = append(s.ticks, now)
	out := s.atTick
	s.atTick = nil
	return out
}

func verdict(subject string, cleared bool, evs ...*spoorv1.Event) contract.Verdict {
	v := contract.Verdict{
		Rule: "state.local", Severity: spoorv1.Severity_SEVERITY_HIGH, Workload: &spoorv1.Workload{Kind: "Unit", Name: "web"},
		Owner: &spoorv1.Owner{Team: "t"}, Subject: subject, Title: "title", Why: "why", Fix: "fix", Contract: "shop/web",
		Evidence: evs, Cleared: cleared,
	}
	for _, ev := range evs {
		v.Time = ev.GetTime().AsTime()
	}
	return v
}

// lab runs an engine over a real store, committing as ingest does.
type lab struct {
	t      *testing.T
	store  *sqlite.Store
	engine *finding.Engine
	judge  *script
	id     uint64
	now    time.Time
}

func newLab(t *testing.T) *lab {
	s, err := sqlite.Open(sqlite.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{t: t, store: s, now: start}
	l.restart()
	return l
}

// restart makes a new engine over the same store.
func (l *lab) restart() {
	l.t.Helper()
	var err error
	l.engine, err = finding.New(finding.Options{
		Store:    l.store,
		NewJudge: func() finding.Judge { l.judge = &script{}; return l.judge },
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) {
			return &spoorv1.Completeness{Complete: true}, nil
		},
		Expire: 24 * time.Hour, Replay: time.Hour, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.engine.Rebuild(l.t.Context(), l.now); err != nil {
		l.t.Fatal(err)
	}
	l.write(nil)
}

// happen commits one event for each word, a second apart.
func (l *lab) happen(words ...string) {
	l.t.Helper()
	var evs []*spoorv1.Event
	for _, w := range words {
		l.id++
		l.now = l.now.Add(time.Second)
		ev := &spoorv1.Event{
			Id: l.id, Sequence: l.id, Node: "n", Epoch: "e", Kind: "process_start", Time: timestamppb.New(l.now), Process: &spoorv1.Process{ExecId: w},
			Fact: &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{}},
		}
		if err := l.engine.Observe(l.t.Context(), ev, l.now); err != nil {
			l.t.Fatal(err)
		}
		evs = append(evs, ev)
	}
	l.write(evs)
}

// tick lets time pass and commits what comes of it.
func (l *lab) tick(d time.Duration) {
	l.t.Helper()
	l.now = l.now.Add(d)
	if err := l.engine.Tick(l.t.Context(), l.now); err != nil {
		l.t.Fatal(err)
	}
	l.write(nil)
}

func (l *lab) write(evs []*spoorv1.Event) {
	l.t.Helper()
	w := &store.Write{Findings: l.engine.Take(), Receivers: []string{"r"}}
	if len(evs) > 0 {
		w.Batches = []store.Batch{{Run: store.Run{Node: "n", Epoch: "e"}, Sequence: l.id, Received: l.now, Events: evs}}
	}
	if err := l.store.Write(l.t.Context(), w); err != nil {
		l.t.Fatal(err)
	}
}

// finding returns the only one.
func (l *lab) finding() *spoorv1.Finding {
	l.t.Helper()
	all, err := l.store.Findings(l.t.Context(), store.FindingQuery{})
	if err != nil {
		l.t.Fatal(err)
	}
	if len(all) != 1 {
		l.t.Fatalf("%d findings, want 1", len(all))
	}
	return all[0]
}

func (l *lab) expect(state spoorv1.FindingState, count uint32, evidence ...uint64) {
	l.t.Helper()
	f := l.finding()
	if f.GetState() != state || f.GetCount() != count || !slices.Equal(f.GetEvidenceIds(), evidence) {
		l.t.Errorf("the finding is %v, count %d, evidence %v: want %v, %d, %v", f.GetState(), f.GetCount(), f.GetEvidenceIds(), state, count, evidence)
	}
}

// told returns how often the receiver has something to hear.
func (l *lab) told() int {
	l.t.Helper()
	notices, err := l.store.Due(l.t.Context(), "r", l.now, 10)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, n := range notices {
		err := l.store.Settle(l.t.Context(), "r", []store.Outcome{{Fingerprint: n.Finding.GetFingerprint(), Revision: n.Revision, Done: true}})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	return len(notices)
}

func TestLife(t *testing.T) {
	l := newLab(t)
	l.happen("nothing", "raise x")
	v := verdict("x", false)
	want := &spoorv1.Finding{
		Id: v.Fingerprint()[:10], Fingerprint: v.Fingerprint(), Rule: v.Rule, Severity: v.Severity, Workload: v.Workload, Owner: v.Owner,
		Title: v.Title, Why: v.Why, Fix: v.Fix, Subject: v.Subject, Contract: v.Contract, State: isOpen, Count: 1, EvidenceIds: []uint64{2},
		FirstSeen: timestamppb.New(start.Add(2 * time.Second)), LastSeen: timestamppb.New(start.Add(2 * time.Second)),
		StateChanged: timestamppb.New(l.now), Completeness: &spoorv1.Completeness{Complete: true},
	}
	if diff := cmp.Diff(want, l.finding(), protocmp.Transform()); diff != "" {
		t.Fatalf("want - got +\n%s", diff)
	}
	if l.told() != 1 {
		t.Error("receivers do not hear of a new finding")
	}
	l.happen("raise x", "raise x")
	l.expect(isOpen, 3, 2, 3, 4)
	if l.told() != 0 {
		t.Error("receivers hear of every event")
	}
	l.happen("clear x")
	l.expect(isResolved, 3, 2, 3, 4, 5)
	if l.told() != 1 || l.finding().GetNote() == "" {
		t.Error("receivers do not hear of a clearance, or the finding does not say why it is resolved")
	}
	l.happen("clear x")
	if l.told() != 0 {
		t.Error("cleared twice")
	}
	l.happen("raise x")
	l.expect(isOpen, 4, 2, 3, 4, 5, 7)
	if l.told() != 1 || l.finding().GetNote() != "" {
		t.Error("receivers do not hear that it is open again, or the finding has its old note")
	}
	for range 20 {
		l.happen("raise x")
	}
	l.expect(isOpen, 24, 2, 3, 4, 23, 24, 25, 26, 27)
	if first := l.finding().GetFirstSeen().AsTime(); !first.Equal(start.Add(2 * time.Second)) {
		t.Errorf("first seen %v", first)
	}
}

func TestClearanceOfNothing(t *testing.T) {
	l := newLab(t)
	l.happen("clear x")
	if all, err := l.store.Findings(t.Context(), store.FindingQuery{}); err != nil || len(all) != 0 {
		t.Errorf("findings %v (%v)", all, err)
	}
}

func TestPeople(t *testing.T) {
	l := newLab(t)
	update := func(s spoorv1.FindingState, note string) error {
		v := verdict("x", false)
		_, err := l.engine.Update(t.Context(), v.Fingerprint(), s, note, l.now)
		l.write(nil)
		return err
	}
	l.happen("raise x")
	l.told()
	if err := update(isAcknowledged, "Ann looks"); err != nil {
		t.Fatal(err)
	}
	if f := l.finding(); f.GetState() != isAcknowledged || f.GetNote() != "Ann looks" || l.told() != 1 {
		t.Errorf("acknowledged: %v", f)
	}
	l.happen("raise x")
	l.expect(isAcknowledged, 2, 1, 2)
	if l.told() != 0 || l.finding().GetNote() != "Ann looks" {
		t.Error("another event of an acknowledged finding is told, or takes the note away")
	}
	if err := update(isResolved, "fixed"); err != nil {
		t.Fatal(err)
	}
	var transition *finding.TransitionError
	if err := update(isAcknowledged, ""); !errors.As(err, &transition) {
		t.Errorf("a resolved finding is acknowledged: %v", err)
	}
	l.expect(isResolved, 2, 1, 2)
	l.happen("raise x")
	l.expect(isOpen, 3, 1, 2, 3)
	if _, err := l.engine.Update(t.Context(), "nothing", isResolved, "", l.now); !errors.Is(err, store.ErrNotFound) || l.engine.Changed() {
		t.Errorf("an unknown finding: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	l := newLab(t)
	l.happen("raise x")
	l.told()
	l.tick(23 * time.Hour)
	l.expect(isOpen, 1, 1)
	l.tick(2 * time.Hour)
	l.expect(isExpired, 1, 1)
	if l.told() != 1 {
		t.Error("receivers do not hear that it expired")
	}
	l.happen("raise x")
	l.expect(isOpen, 2, 1, 2)
}

// TestRestart: a new judge sees what the last one saw, and what it says again changes nothing.
func TestRestart(t *testing.T) {
	l := newLab(t)
	l.happen("raise x", "nothing")
	l.now = l.now.Add(2 * time.Hour) // the first event is now too old to be looked at, but it proves an open finding
	l.happen("nothing", "raise x", "nothing")
	before := l.finding()
	l.told()
	l.restart()
	if want := []uint64{1, 3, 4, 5}; !slices.Equal(l.judge.seen, want) {
		t.Errorf("the judge saw %v, want %v", l.judge.seen, want)
	}
	if len(l.judge.ticks) == 0 || l.judge.ticks[len(l.judge.ticks)-1].After(l.now) {
		t.Errorf("the judge's clock went %v", l.judge.ticks)
	}
	if diff := cmp.Diff(before, l.finding(), protocmp.Transform()); diff != "" || l.told() != 0 {
		t.Errorf("the restart changed the finding:\n%s", diff)
	}
	l.happen("raise x")
	l.expect(isOpen, 3, 1, 4, 6)
	l.happen("clear x")
	l.restart()
	l.expect(isResolved, 3, 1, 4, 6, 7) // neither reopened nor cleared by the past
	l.happen("raise x")
	l.expect(isOpen, 4, 1, 4, 6, 7, 8)
}

// TestVerdictsOfTime: a judge may speak of old events when their time has come.
func TestVerdictsOfTime(t *testing.T) {
	l := newLab(t)
	l.happen("nothing", "nothing")
	evs, err := l.store.EventsByID(t.Context(), []uint64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	l.judge.atTick = []contract.Verdict{verdict("x", false, evs...)}
	l.tick(time.Minute)
	l.expect(isOpen, 2, 1, 2)
	l.judge.atTick = []contract.Verdict{verdict("x", false, evs...)}
	l.tick(time.Minute)
	l.expect(isOpen, 2, 1, 2)
}

// failing is a store whose reads fail.
type failing struct{ finding.Store }

func (failing) Finding(context.Context, string) (*spoorv1.Finding, error) {
	return nil, errors.New("disk gone")
}

func TestStoreErrorsAreReturned(t *testing.T) {
	l := newLab(t)
	e, err := finding.New(finding.Options{
		Store: failing{l.store}, NewJudge: func() finding.Judge { return &script{} },
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) { return nil, nil },
		Logger:       slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ev := &spoorv1.Event{Id: 1, Process: &spoorv1.Process{ExecId: "raise x"}, Time: timestamppb.New(start)}
	if err := e.Observe(t.Context(), ev, start); err == nil || !strings.Contains(err.Error(), "disk gone") {
		t.Errorf("error %v", err)
	}
}

// TestCompletenessIsNotWorthAVerdict: what cannot be found out in time is a gap, and is not asked for each event.
func TestCompletenessIsNotWorthAVerdict(t *testing.T) {
	l := newLab(t)
	asked := 0
	var err error
	l.engine, err = finding.New(finding.Options{
		Store: l.store, NewJudge: func() finding.Judge { return &script{} },
		Completeness: func(_ context.Context, from, to time.Time, node string) (*spoorv1.Completeness, error) {
			if asked++; node != "n" || !to.Equal(l.now) || to.Sub(from) != time.Hour {
				t.Errorf("asked about node %q from %v to %v", node, from, to)
			}
			return nil, errors.New("the store is busy")
		},
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.happen("raise x", "raise x", "raise x")
	l.expect(isOpen, 3, 1, 2, 3)
	if c := l.finding().GetCompleteness(); asked != 1 || c.GetComplete() || len(c.GetGaps()) != 1 {
		t.Errorf("asked %d times, completeness %v", asked, c)
	}
}

func TestManyFindings(t *testing.T) {
	l := newLab(t)
	var words []string
	for i := range 5000 { // more than are kept in memory
		words = append(words, fmt.Sprint("raise ", i))
	}
	l.happen(words...)
	l.happen(words...)
	all, err := l.store.Findings(t.Context(), store.FindingQuery{})
	if err != nil || len(all) != 5000 {
		t.Fatalf("%d findings (%v)", len(all), err)
	}
	for _, f := range all {
		if f.GetCount() != 2 {
			t.Fatalf("finding %s has count %d, want 2", f.GetSubject(), f.GetCount())
		}
	}
}

// attentive is a judge that writes down what it is told of agents.
type attentive struct {
	script
	told []string
}

func (a *attentive) Attend(cluster, node string, silent bool, since time.Time) []contract.Verdict {
	a.told = append(a.told, fmt.Sprintf("%s/%s silent=%v since %s", cluster, node, silent, since.Sub(start)))
	v := verdict("its agent", !silent)
	v.Time = since.Add(contract.SilentAfter)
	return []contract.Verdict{v}
}

// An agent counts as silent only after the collector could have heard it for as long as that takes.
func TestSilentAgents(t *testing.T) {
	l := newLab(t)
	judge := &attentive{}
	agents := []finding.Attendance{{Cluster: "c", Node: "here", Connected: true, Seen: start}, {Cluster: "c", Node: "gone", Seen: start.Add(-time.Hour)}}
	var failing error
	var err error
	l.engine, err = finding.New(finding.Options{
		Store: l.store, NewJudge: func() finding.Judge { return judge },
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) {
			return &spoorv1.Completeness{Complete: true}, nil
		},
		Agents: func(context.Context) ([]finding.Attendance, error) { return agents, failing },
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	tick := func(after time.Duration, want ...string) {
		t.Helper()
		judge.told = nil
		if err := l.engine.Tick(t.Context(), start.Add(after)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, judge.told); diff != "" {
			t.Errorf("after %s: %s", after, diff)
		}
	}
	tick(0, "c/here silent=false since 0s")
	tick(time.Second) // asked a moment ago
	tick(time.Minute, "c/here silent=false since 0s")
	tick(2*time.Minute, "c/here silent=false since 0s", "c/gone silent=true since -1h0m0s")
	if changes := l.engine.Take(); len(changes) != 1 || changes[0].Finding.GetSubject() != "its agent" || !changes[0].Notify {
		t.Errorf("changes: %v", changes)
	}
	tick(3*time.Minute, "c/here silent=false since 0s", "c/gone silent=true since -1h0m0s")
	failing = errors.New("the store is away")
	if err := l.engine.Tick(t.Context(), start.Add(4*time.Minute)); !errors.Is(err, failing) {
		t.Errorf("Tick = %v", err)
	}
}
