// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/query"
)

func TestFindings(t *testing.T) {
	c := start(t, nil)
	evs := c.commit(runA, wrote(1, "/a"), wrote(2, "/b"))
	first, second := finding("aa11", isOpen, 1, 2), finding("aa22", isAcknowledged)
	third := finding("bb", isResolved, 2, 77)
	second.Rule, second.Workload = "flow.egress", workload("web")
	for _, f := range []*spoorv1.Finding{first, second, third, finding("cc", isExpired)} {
		c.find(f)
	}
	for _, test := range []struct {
		name    string
		request *spoorv1.ListFindingsRequest
		want    string
	}{
		{"what is not over", &spoorv1.ListFindingsRequest{}, "aa11 aa22"},
		{"resolved", &spoorv1.ListFindingsRequest{States: []spoorv1.FindingState{isResolved}}, "bb00"},
		{"all", &spoorv1.ListFindingsRequest{States: []spoorv1.FindingState{isOpen, isAcknowledged, isResolved, isExpired}}, "aa11 aa22 bb00 cc00"},
		{"of a rule", &spoorv1.ListFindingsRequest{Rule: "flow.egress"}, "aa22"},
		{"of a workload", &spoorv1.ListFindingsRequest{Workload: "Deployment/check*"}, "aa11"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, f := range ask(t, c.ListFindings, test.request).GetFindings() {
				got = append(got, f.GetId()[:4])
			}
			if slices.Sort(got); strings.Join(got, " ") != test.want {
				t.Errorf("findings %v, want %s", got, test.want)
			}
		})
	}
	refused(t, c.ListFindings, &spoorv1.ListFindingsRequest{States: []spoorv1.FindingState{0}}, connect.CodeInvalidArgument, "states: ", "open, acknowledged")
	refused(t, c.ListFindings, &spoorv1.ListFindingsRequest{Workload: "a/"}, connect.CodeInvalidArgument, "workload: ")

	one := ask(t, c.GetFinding, &spoorv1.GetFindingRequest{Id: "AA1"})
	if diff := cmp.Diff(first, one.GetFinding(), protocmp.Transform()); diff != "" {
		t.Errorf("finding: want - got +\n%s", diff)
	}
	if diff := cmp.Diff(evs, one.GetEvidence(), protocmp.Transform()); diff != "" {
		t.Errorf("evidence: want - got +\n%s", diff)
	}
	half := ask(t, c.GetFinding, &spoorv1.GetFindingRequest{Id: third.GetFingerprint()})
	if ids(half.GetEvidence()) != "2" || half.GetFinding().GetCompleteness().GetComplete() ||
		!strings.Contains(strings.Join(half.GetFinding().GetCompleteness().GetGaps(), ""), "1 of the 2 events") {
		t.Errorf("a finding of which an event is gone: %v", half)
	}
	refused(t, c.GetFinding, &spoorv1.GetFindingRequest{}, connect.CodeInvalidArgument, "id: ")
	refused(t, c.GetFinding, &spoorv1.GetFindingRequest{Id: "dd"}, connect.CodeNotFound, `id: `, `"dd"`)
	refused(t, c.GetFinding, &spoorv1.GetFindingRequest{Id: "aa"}, connect.CodeInvalidArgument, "id: ", "aa11000000, aa22000000", "write more")
}

func TestUpdateFinding(t *testing.T) {
	c := start(t, nil)
	c.find(finding("aa11", isOpen))
	c.find(finding("aa22", isOpen))
	f := ask(t, c.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: "aa1", State: isAcknowledged, Note: "alice: on it"}).GetFinding()
	if f.GetState() != isAcknowledged || f.GetNote() != "alice: on it" || f.GetId() != "aa11000000" {
		t.Errorf("acknowledged: %v", f)
	}
	refused(t, c.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: "aa1", State: isOpen}, connect.CodeInvalidArgument, "state: ", "ACKNOWLEDGED", "RESOLVED")
	refused(t, c.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: "aa1"}, connect.CodeInvalidArgument, "state: ")
	refused(t, c.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: "aa1", State: isResolved, Note: strings.Repeat("x", 5000)}, connect.CodeInvalidArgument, "note: ", "4096")
	refused(t, c.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: "aa", State: isResolved}, connect.CodeInvalidArgument, "id: ")
	refused(t, c.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: "bb", State: isResolved}, connect.CodeNotFound, "id: ")
}

func TestEdges(t *testing.T) {
	c := start(t, nil)
	c.commit(runA, of("web", process("aaaa", "", 10), called(1, "10.0.0.9")), of("job", process("bbbb", "", 11), called(2, "10.0.0.8")))
	edges := ask(t, c.ListEdges, &spoorv1.ListEdgesRequest{Workload: "web"}).GetEdges()
	if len(edges) != 1 || edges[0].GetFrom().GetWorkload().GetName() != "web" || edges[0].GetTo().GetAddress() != "10.0.0.9" {
		t.Errorf("edges of web: %v", edges)
	}
	if edges := ask(t, c.ListEdges, &spoorv1.ListEdgesRequest{From: at(2)}).GetEdges(); len(edges) != 1 {
		t.Errorf("%d edges from then on, want 1", len(edges))
	}
	refused(t, c.ListEdges, &spoorv1.ListEdgesRequest{From: at(2), To: at(1)}, connect.CodeInvalidArgument, "to: ", "not after from")
	refused(t, c.ListEdges, &spoorv1.ListEdgesRequest{Workload: "/"}, connect.CodeInvalidArgument, "workload: ")
}

func TestTree(t *testing.T) {
	c := start(t, nil)
	c.commit(runA,
		of("web", process("aa", "", 1), started(0)), of("web", process("bb", "aa", 10), started(1)),
		of("web", process("cc", "bb", 11), started(2)), of("web", process("ee", "dd", 12), started(3)))
	tree := ask(t, c.GetTree, &spoorv1.GetTreeRequest{ExecId: "bb"})
	var depths []int32
	for _, n := range tree.GetNodes() {
		depths = append(depths, n.GetDepth())
	}
	if !slices.Equal(depths, []int32{-1, 0, 1}) || !tree.GetCompleteness().GetComplete() {
		t.Errorf("tree with the depths %v: %v", depths, tree)
	}
	orphan := ask(t, c.GetTree, &spoorv1.GetTreeRequest{ExecId: "eeaaaaaaaaaaaaaa"})
	gaps(t, orphan.GetCompleteness(), "who started app[12] is not known")
	refused(t, c.GetTree, &spoorv1.GetTreeRequest{}, connect.CodeInvalidArgument, "exec_id: ")
	refused(t, c.GetTree, &spoorv1.GetTreeRequest{ExecId: "zz"}, connect.CodeNotFound, `"zz"`)
}

func TestSQL(t *testing.T) {
	c := start(t, func(o *query.Options) { o.SQLTimeout = 200 * time.Millisecond })
	c.commit(runA, wrote(1, "/a"), wrote(2, "/b"))
	got := ask(t, c.RunSQL, &spoorv1.RunSQLRequest{Query: "SELECT id, kind FROM events ORDER BY id", MaxRows: 1})
	if !slices.Equal(got.GetColumns(), []string{"id", "kind"}) || len(got.GetRows()) != 1 || !got.GetMore() ||
		got.GetRows()[0].GetValues()[1].GetText() != "file_write" {
		t.Errorf("answer: %v", got)
	}
	refused(t, c.RunSQL, &spoorv1.RunSQLRequest{Query: "SELEC 1"}, connect.CodeInvalidArgument, "SELEC")
	refused(t, c.RunSQL, &spoorv1.RunSQLRequest{Query: "DELETE FROM event"}, connect.CodeInvalidArgument)
	refused(t, c.RunSQL, &spoorv1.RunSQLRequest{}, connect.CodeInvalidArgument, "empty")
	refused(t, c.RunSQL, &spoorv1.RunSQLRequest{Query: "SELECT 1", MaxRows: 100_001}, connect.CodeInvalidArgument, "max_rows: ", "100000")
	refused(t, c.RunSQL, &spoorv1.RunSQLRequest{Query: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"},
		connect.CodeResourceExhausted, "longer than 200ms")
}

func TestStatus(t *testing.T) {
	c := start(t, nil)
	empty := ask(t, c.GetStatus, &spoorv1.GetStatusRequest{})
	gaps(t, empty.GetCompleteness(), "no agent has reported yet")
	if empty.GetOldest() != nil || empty.GetVersion() != "v1.2.3" {
		t.Errorf("status of an empty store: %v", empty)
	}
	old := runA
	old.Epoch = "zeroth"
	c.hello(old, noon.Add(-time.Hour), noon.Add(-2*time.Second))
	c.hello(runA, noon, noon)
	c.commit(runA, wrote(1, "/a"), covers("file", "base", "no renames"))
	c.commit(runB, wrote(2, "/b"))
	status := ask(t, c.GetStatus, &spoorv1.GetStatusRequest{})
	if status.GetEvents() != 3 || status.GetStoreBytes() == 0 || !status.GetOldest().AsTime().Equal(noon) {
		t.Errorf("status of the store: %v", status)
	}
	if !status.GetCompleteness().GetComplete() {
		t.Errorf("gaps: %v", status.GetCompleteness())
	}
	want := []*spoorv1.AgentStatus{
		{
			Cluster: "c1", Node: "a", Epoch: "first", Version: "v1.0.0", KernelRelease: "6.1.0", StartTime: timestamppb.New(noon), LastSeen: at(1),
			Connected: true, Coverage: []*spoorv1.Coverage{{Sensor: "file", Tier: "base", Reason: "no renames"}}, Acknowledged: 1,
		},
		{Cluster: "c1", Node: "b", Epoch: "first", LastSeen: at(2), Connected: true, Acknowledged: 1},
	}
	want[0].LastSeen = at(0) // the batch was received when its last event happened
	if diff := cmp.Diff(want, status.GetAgents(), protocmp.Transform()); diff != "" {
		t.Errorf("agents: want - got +\n%s", diff)
	}
}
