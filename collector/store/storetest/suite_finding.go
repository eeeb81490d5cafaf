// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	isOpen         = spoorv1.FindingState_FINDING_STATE_OPEN
	isAcknowledged = spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED
	isResolved     = spoorv1.FindingState_FINDING_STATE_RESOLVED
)

func finding(n int, state spoorv1.FindingState) *spoorv1.Finding {
	fingerprint := strings.Repeat(fmt.Sprintf("%02x", n), 32)
	return &spoorv1.Finding{
		Id: fingerprint[:10], Fingerprint: fingerprint, Rule: []string{"state.local", "flow.egress"}[n%2],
		Severity: spoorv1.Severity_SEVERITY_HIGH, Workload: &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("app%d", n)},
		Owner: &spoorv1.Owner{Team: "payments"}, Title: "title", Why: "why", Fix: "fix", Subject: "/var/lib/x", State: state,
		FirstSeen: timestamppb.New(start), LastSeen: timestamppb.New(start.Add(time.Duration(n) * time.Second)), Count: uint32(n),
		EvidenceIds: []uint64{1, 2, 3}, Completeness: &spoorv1.Completeness{Gaps: []string{"one"}}, Note: "note", Contract: "shop/app",
		StateChanged: timestamppb.New(start),
	}
}

func testFindings(t *testing.T, open Open) {
	s := begin(t, open)
	w := &store.Write{}
	var all []*spoorv1.Finding
	for i, state := range []spoorv1.FindingState{isOpen, isOpen, isAcknowledged, isResolved, isOpen} {
		all = append(all, finding(i, state))
		w.Findings = append(w.Findings, store.FindingChange{Finding: all[i]})
	}
	s.write(w)
	changed := proto.CloneOf(all[1])
	changed.Count, changed.State = 100, isResolved
	s.write(&store.Write{Findings: []store.FindingChange{{Finding: changed}}})
	s.reopen(open)
	for _, c := range []struct {
		name string
		q    store.FindingQuery
		want []*spoorv1.Finding
	}{
		{"all", store.FindingQuery{}, []*spoorv1.Finding{all[4], all[3], all[2], changed, all[0]}},
		{"open", store.FindingQuery{States: []spoorv1.FindingState{isOpen}}, []*spoorv1.Finding{all[4], all[0]}},
		{"not resolved", store.FindingQuery{States: []spoorv1.FindingState{isOpen, isAcknowledged}}, []*spoorv1.Finding{all[4], all[2], all[0]}},
		{"by rule", store.FindingQuery{Rule: "flow.egress"}, []*spoorv1.Finding{all[3], changed}},
		{"by workload", store.FindingQuery{Workload: mustPattern(t, "app2")}, []*spoorv1.Finding{all[2]}},
		{"two", store.FindingQuery{Limit: 2}, []*spoorv1.Finding{all[4], all[3]}},
	} {
		got, err := s.Findings(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s: want - got +\n%s", c.name, diff)
		}
	}
	if f, err := s.Finding(t.Context(), all[2].GetFingerprint()); err != nil || !proto.Equal(f, all[2]) {
		t.Errorf("one finding: %v (%v)", f, err)
	}
	if _, err := s.Finding(t.Context(), "ff"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a finding that does not exist: %v", err)
	}
	ids, err := s.FindingIDs(t.Context(), "03", 10)
	if diff := cmp.Diff([]store.FindingID{{ID: all[3].GetId(), Fingerprint: all[3].GetFingerprint()}}, ids); err != nil || diff != "" {
		t.Errorf("finding ids: %v %s", err, diff)
	}
	if ids, err := s.FindingIDs(t.Context(), "0", 3); err != nil || len(ids) != 3 {
		t.Errorf("3 of all finding ids: %v (%v)", ids, err)
	}
}

func testOutbox(t *testing.T, open Open) {
	s := begin(t, open)
	now := start
	due := func(at time.Time) map[string]*store.Notice {
		t.Helper()
		notices, err := s.Due(t.Context(), "am", at, 100)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]*store.Notice{}
		for _, n := range notices {
			m[n.Finding.GetId()] = n
		}
		return m
	}
	settle := func(o store.Outcome) {
		t.Helper()
		if err := s.Settle(t.Context(), "am", []store.Outcome{o}); err != nil {
			t.Fatal(err)
		}
	}
	// Before the receiver is known, findings make no notices; enrolling it makes one of each that is not resolved.
	old, gone := finding(1, isOpen), finding(2, isResolved)
	s.write(&store.Write{Findings: []store.FindingChange{{Finding: old, Notify: true}, {Finding: gone, Notify: true}}})
	if n := due(now); len(n) != 0 {
		t.Fatalf("%d notices for a receiver that does not exist", len(n))
	}
	if _, found, err := s.NextDue(t.Context(), "am"); err != nil || found {
		t.Fatalf("an empty outbox has a next notice (%v)", err)
	}
	for range 2 {
		if err := s.Enrol(t.Context(), "am", now); err != nil {
			t.Fatal(err)
		}
	}
	if n := due(now); len(n) != 1 || n[old.GetId()] == nil {
		t.Fatalf("notices after enrolling: %v", n)
	}
	fresh := finding(3, isOpen)
	receivers := []string{"am", "other"}
	s.write(&store.Write{Findings: []store.FindingChange{{Finding: fresh, Notify: true}}, Receivers: receivers})
	n := due(now)[fresh.GetId()]
	if n == nil || !proto.Equal(n.Finding, fresh) || n.Attempts != 0 {
		t.Fatalf("notice of a new finding: %+v", n)
	}

	// An attempt that failed is tried again later, also after a restart.
	settle(store.Outcome{Fingerprint: fresh.GetFingerprint(), Revision: n.Revision, Failed: true, Problem: "down", Next: now.Add(time.Minute), Memo: []byte("memo")})
	s.reopen(open)
	if due(now.Add(59 * time.Second))[fresh.GetId()] != nil {
		t.Error("a failed notice is due before its time")
	}
	n = due(now.Add(time.Minute))[fresh.GetId()]
	if n == nil || n.Attempts != 1 || string(n.Memo) != "memo" {
		t.Fatalf("the failed notice: %+v", n)
	}
	if all, failing, err := s.Pending(t.Context(), "am"); err != nil || all != 2 || failing != 1 {
		t.Errorf("pending %d, failing %d (%v), want 2 and 1", all, failing, err)
	}
	if next, found, err := s.NextDue(t.Context(), "am"); err != nil || !found || !next.Equal(now) {
		t.Errorf("next due %v %v (%v), want %v", next, found, err, now)
	}
	settle(store.Outcome{Fingerprint: fresh.GetFingerprint(), Revision: n.Revision, Next: now.Add(time.Hour), Memo: []byte("memo2")})
	n = due(now.Add(time.Hour))[fresh.GetId()]
	if n == nil || n.Attempts != 0 || string(n.Memo) != "memo2" {
		t.Fatalf("the delivered notice: %+v", n)
	}

	// A finding that changes while its notice is under way stays due, with its memo; so does one that only grew not.
	resolved := proto.CloneOf(fresh)
	resolved.State = isResolved
	s.write(&store.Write{Findings: []store.FindingChange{{Finding: resolved, Notify: true}}, Receivers: receivers})
	settle(store.Outcome{Fingerprint: fresh.GetFingerprint(), Revision: n.Revision, Done: true, Next: now.Add(time.Hour), Memo: []byte("memo3")})
	n = due(now)[fresh.GetId()]
	if n == nil || n.Finding.GetState() != isResolved || string(n.Memo) != "memo3" {
		t.Fatalf("the notice that changed: %+v", n)
	}
	settle(store.Outcome{Fingerprint: fresh.GetFingerprint(), Revision: n.Revision, Done: true})
	if n := due(now.Add(100 * time.Hour)); len(n) != 1 || n[old.GetId()] == nil {
		t.Errorf("notices at the end: %v, want the old one only", n)
	}
	if n, err := s.Due(t.Context(), "other", now, 100); err != nil || len(n) != 1 {
		t.Errorf("the other receiver's outbox: %v (%v)", n, err)
	}
}
