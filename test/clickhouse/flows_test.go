// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// TestManyFlows: a collector that starts asks for the last 65,536 flows with the names of their other ends, which are more than fit into a list.
func TestManyFlows(t *testing.T) {
	s := open(t, database(t, t.TempDir()))
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const flows = 20_000
	run := store.Run{Cluster: "c", Node: "n", Epoch: "e"}
	b := store.Batch{Run: run, Sequence: 1, Received: time.Now()}
	now := timestamppb.Now()
	for n := range uint64(flows) {
		b.Events = append(b.Events, &spoorv1.Event{
			Id: n + 1, Sequence: n + 1, Epoch: run.Epoch, Node: run.Node, Time: now, Kind: store.KindFlow.String(),
			Fact: &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
				Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, First: now, Last: now, Opened: 1,
				Local: &spoorv1.Endpoint{Address: "10.0.0.1"}, Peer: &spoorv1.Endpoint{Address: fmt.Sprintf("10.1.%d.%d", n>>8, n&255), Port: 443},
			}},
		})
	}
	if _, _, err := s.Begin(t.Context(), []store.Batch{b}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
		t.Fatal(err)
	}
	known := &spoorv1.Workload{Cluster: "c", Namespace: "shop", Kind: "Deployment", Name: "web"}
	nowKnown := func(id uint64, execID string) *spoorv1.Event {
		ev := proto.CloneOf(b.Events[id-1])
		ev.GetFlow().GetPeer().Workload, ev.GetFlow().GetPeer().ExecId = known, execID
		return ev
	}
	if err := s.Write(t.Context(), &store.Write{Named: []*spoorv1.Event{nowKnown(7, "x"), nowKnown(flows, "y")}}); err != nil {
		t.Fatal(err)
	}
	page, err := s.Events(t.Context(), store.EventQuery{Kinds: []store.Kind{store.KindFlow}, Newest: true, Limit: flows})
	if err != nil {
		t.Fatal(err)
	}
	named := map[uint64]string{}
	for _, ev := range page.Events {
		if id := ev.GetFlow().GetPeer().GetExecId(); id != "" {
			named[ev.GetId()] = id
		}
	}
	if len(page.Events) != flows || len(named) != 2 || named[7] != "x" || named[flows] != "y" {
		t.Errorf("%d flows, named: %v", len(page.Events), named)
	}
}
