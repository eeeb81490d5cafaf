// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// questioned keeps which clusters it was asked about.
type questioned struct {
	spoorv1connect.UnimplementedQueryServiceHandler
	about []string
}

func (q *questioned) ListEvents(_ context.Context, r *connect.Request[spoorv1.ListEventsRequest]) (*connect.Response[spoorv1.ListEventsResponse], error) {
	q.about = append(q.about, "events "+r.Msg.GetFilter().GetCluster()+" "+r.Msg.GetFilter().GetNode())
	return connect.NewResponse(&spoorv1.ListEventsResponse{}), nil
}

func (q *questioned) FollowEvents(_ context.Context, r *connect.Request[spoorv1.FollowEventsRequest], _ *connect.ServerStream[spoorv1.FollowEventsResponse]) error {
	q.about = append(q.about, "follow "+r.Msg.GetFilter().GetCluster())
	return nil
}

func (q *questioned) ListFindings(_ context.Context, r *connect.Request[spoorv1.ListFindingsRequest]) (*connect.Response[spoorv1.ListFindingsResponse], error) {
	q.about = append(q.about, "findings "+r.Msg.GetCluster())
	return connect.NewResponse(&spoorv1.ListFindingsResponse{}), nil
}

func (q *questioned) ListEdges(_ context.Context, r *connect.Request[spoorv1.ListEdgesRequest]) (*connect.Response[spoorv1.ListEdgesResponse], error) {
	q.about = append(q.about, "edges "+r.Msg.GetCluster())
	return connect.NewResponse(&spoorv1.ListEdgesResponse{}), nil
}

func (q *questioned) GetStatus(_ context.Context, r *connect.Request[spoorv1.GetStatusRequest]) (*connect.Response[spoorv1.GetStatusResponse], error) {
	q.about = append(q.about, "status "+r.Msg.GetCluster())
	return connect.NewResponse(&spoorv1.GetStatusResponse{}), nil
}

// TestCluster: --cluster goes into every question that can be about one, and SQL, which cannot, is refused with what to write instead.
func TestCluster(t *testing.T) {
	q := &questioned{}
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewQueryServiceHandler(q))
	server := httptest.NewServer(mux)
	defer server.Close()
	a, err := (&remote{Collector: server.URL, Timeout: time.Minute, Cluster: "prod"}).dial()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		failure(ask(t.Context(), a, a.ListEvents, &spoorv1.ListEventsRequest{})),
		failure(ask(t.Context(), a, a.ListEvents, &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Node: "a"}})),
		failure(ask(t.Context(), a, a.ListFindings, &spoorv1.ListFindingsRequest{})),
		failure(ask(t.Context(), a, a.ListEdges, &spoorv1.ListEdgesRequest{})),
		failure(ask(t.Context(), a, a.GetStatus, &spoorv1.GetStatusRequest{})),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	stream, err := a.FollowEvents(t.Context(), connect.NewRequest(&spoorv1.FollowEventsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
		t.Errorf("received %v", stream.Msg())
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(q.about, "; "), "events prod ; events prod a; findings prod; edges prod; status prod; follow prod"; got != want {
		t.Errorf("asked about %s, want %s", got, want)
	}
	if err := failure(ask(t.Context(), a, a.RunSQL, &spoorv1.RunSQLRequest{Query: "SELECT 1"})); err == nil || !strings.Contains(err.Error(), "WHERE cluster") {
		t.Errorf("SQL: %v", err)
	}
}

func failure[T any](_ T, err error) error { return err }
