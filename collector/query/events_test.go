// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/query"
)

func TestListEvents(t *testing.T) {
	c := start(t, nil)
	web, job := process("aaaa", "", 10), process("abbb", "", 11)
	c.commit(runA,
		of("web", web, started(1)), of("web", web, wrote(2, "/var/lib/web/a")), of("web", web, called(3, "10.0.0.9")),
		of("job", job, started(4)), of("job", job, wrote(5, "/tmp/b")))
	c.commit(runB, of("job", process("bbbb", "", 12), called(6, "2001:db8::7")))
	for _, test := range []struct {
		name   string
		filter *spoorv1.EventFilter
		want   string
	}{
		{"all", nil, "1 2 3 4 5 6"},
		{"from", &spoorv1.EventFilter{From: at(5)}, "5 6"},
		{"to", &spoorv1.EventFilter{To: at(2)}, "1"},
		{"kinds", &spoorv1.EventFilter{Kinds: []string{"flow", "file_write"}}, "2 3 5 6"},
		{"workload", &spoorv1.EventFilter{Workload: "c1/shop/*/we*"}, "1 2 3"},
		{"node", &spoorv1.EventFilter{Node: "b"}, "6"},
		{"process", &spoorv1.EventFilter{ExecId: "ab"}, "4 5"},
		{"path", &spoorv1.EventFilter{PathPrefix: "/var/"}, "2"},
		{"address", &spoorv1.EventFilter{Address: "10.0.0.9"}, "3"},
		{"address in another spelling", &spoorv1.EventFilter{Address: "2001:DB8:0::7"}, "6"},
		{"address of IPv4 in IPv6", &spoorv1.EventFilter{Address: "::ffff:10.0.0.9"}, "3"},
		{"both", &spoorv1.EventFilter{Workload: "job", Kinds: []string{"flow"}}, "6"},
		{"nothing", &spoorv1.EventFilter{Workload: "nobody"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: test.filter}).GetEvents()); got != test.want {
				t.Errorf("events %q, want %q", got, test.want)
			}
		})
	}
}

func TestListEventsInPages(t *testing.T) {
	c := start(t, nil)
	var evs []*spoorv1.Event
	for i := range 25 {
		evs = append(evs, wrote(i, "/f"))
	}
	c.commit(runA, evs...)
	var got []*spoorv1.Event
	request := &spoorv1.ListEventsRequest{Limit: 10}
	for more := true; more; {
		page := ask(t, c.ListEvents, request)
		got, more = append(got, page.GetEvents()...), page.GetMore()
		request.AfterId = got[len(got)-1].GetId()
	}
	if ids(got) != ids(evs) {
		t.Errorf("pages hold %s", ids(got))
	}
	newest := ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Limit: 3, Newest: true})
	if ids(newest.GetEvents()) != "23 24 25" || !newest.GetMore() {
		t.Errorf("the newest 3: %s, more: %v", ids(newest.GetEvents()), newest.GetMore())
	}
}

func TestBadFilters(t *testing.T) {
	c := start(t, nil)
	c.commit(runA, of("web", process("aaaa", "", 1), started(0)), of("web", process("aabb", "", 2), started(0)))
	for _, test := range []struct {
		name   string
		filter *spoorv1.EventFilter
		code   connect.Code
		words  []string
	}{
		{"kind", &spoorv1.EventFilter{Kinds: []string{"writes"}}, connect.CodeInvalidArgument, []string{"filter.kinds: ", `"writes"`, "file_write"}},
		{"kinds", &spoorv1.EventFilter{Kinds: make([]string, 65)}, connect.CodeInvalidArgument, []string{"filter.kinds: "}},
		{"workload", &spoorv1.EventFilter{Workload: "a/b/c/d/e"}, connect.CodeInvalidArgument, []string{"filter.workload: ", "cluster/namespace/kind/name"}},
		{"long workload", &spoorv1.EventFilter{Workload: strings.Repeat("*a", 3000)}, connect.CodeInvalidArgument, []string{"filter.workload: ", "4096"}},
		{"another cluster", &spoorv1.EventFilter{Workload: "prod/*/*/*", Cluster: "test"}, connect.CodeInvalidArgument, []string{"filter.cluster: ", "prod/*/*/*", `"test"`}},
		{"cluster with more", &spoorv1.EventFilter{Cluster: "prod/shop"}, connect.CodeInvalidArgument, []string{"filter.cluster: ", "slash"}},
		{"long cluster", &spoorv1.EventFilter{Cluster: strings.Repeat("*a", 3000)}, connect.CodeInvalidArgument, []string{"filter.cluster: ", "4096"}},
		{"long path", &spoorv1.EventFilter{PathPrefix: strings.Repeat("/a", 3000)}, connect.CodeInvalidArgument, []string{"filter.path_prefix: "}},
		{"empty interval", &spoorv1.EventFilter{From: at(2), To: at(2)}, connect.CodeInvalidArgument, []string{"filter.to: ", "not after filter.from", "12:00:02"}},
		{"no time", &spoorv1.EventFilter{From: &timestamppb.Timestamp{Nanos: -1}}, connect.CodeInvalidArgument, []string{"filter.from: ", "nanos"}},
		{"far time", &spoorv1.EventFilter{To: &timestamppb.Timestamp{Seconds: 1 << 37}}, connect.CodeInvalidArgument, []string{"filter.to: ", "1970"}},
		{"name for an address", &spoorv1.EventFilter{Address: "example"}, connect.CodeInvalidArgument, []string{"filter.address: ", "10.0.0.7"}},
		{"address with port", &spoorv1.EventFilter{Address: "10.0.0.1:80"}, connect.CodeInvalidArgument, []string{"filter.address: ", "alone, 10.0.0.1"}},
		{"range", &spoorv1.EventFilter{Address: "10.0.0.0/8"}, connect.CodeInvalidArgument, []string{"filter.address: ", "one address"}},
		{"unknown process", &spoorv1.EventFilter{ExecId: "zz"}, connect.CodeNotFound, []string{"filter.exec_id: ", `"zz"`}},
		{"two processes", &spoorv1.EventFilter{ExecId: "aa"}, connect.CodeInvalidArgument, []string{"filter.exec_id: ", "aaaaaaaaaaaaaaaa, aabbaaaaaaaaaaaa", "write more"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: test.filter}, test.code, test.words...)
		})
	}
	refused(t, c.ListEvents, &spoorv1.ListEventsRequest{Limit: 10_001}, connect.CodeInvalidArgument, "limit: ", "10000", "after_id")
}

func TestManyCandidates(t *testing.T) {
	c := start(t, nil)
	var evs []*spoorv1.Event
	for i := range 15 {
		evs = append(evs, of("web", process("ab"+string(rune('a'+i)), "", uint32(i+1)), started(0)))
	}
	c.commit(runA, evs...)
	refused(t, c.GetTree, &spoorv1.GetTreeRequest{ExecId: "ab"}, connect.CodeInvalidArgument, "exec_id: ", "abjaaaaaaaaaaaaa and more")
}

func TestOptionsSayWhatIsMissing(t *testing.T) {
	_, err := query.New(query.Options{})
	for _, field := range []string{"Store", "Findings", "Connected"} {
		if err == nil || !strings.Contains(err.Error(), "option "+field+" is nil") {
			t.Errorf("no options: %v does not name %s", err, field)
		}
	}
}
