// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// GetStatus implements spoorv1connect.QueryServiceHandler.
func (s *Service) GetStatus(ctx context.Context, r *connect.Request[spoorv1.GetStatusRequest]) (*connect.Response[spoorv1.GetStatusResponse], error) {
	return answer(ctx, s, "GetStatus", r, s.getStatus)
}

func (s *Service) getStatus(ctx context.Context, r *spoorv1.GetStatusRequest) (*spoorv1.GetStatusResponse, error) {
	in, err := pattern("", "", "cluster", r.GetCluster())
	if err != nil {
		return nil, err
	}
	about := scope{workload: in}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	stats, err := s.o.Store.Stats(ctx)
	if err != nil {
		return nil, err
	}
	response := &spoorv1.GetStatusResponse{Version: s.o.Version, Events: stats.Events, StoreBytes: stats.Bytes}
	if !stats.Oldest.IsZero() {
		response.Oldest = timestamppb.New(stats.Oldest)
	}
	for i := range nodes {
		if last := nodes[i].last(); about.concerns(last.Cluster, last.Node) {
			response.Agents = append(response.Agents, agentStatus(last, nodes[i].connected))
		}
	}
	response.Completeness, err = s.completenessOf(ctx, nodes, about)
	return response, err
}

func agentStatus(run *store.RunStatus, connected bool) *spoorv1.AgentStatus {
	a := &spoorv1.AgentStatus{
		Cluster: run.Cluster, Node: run.Node, Epoch: run.Epoch, Version: run.Version, KernelRelease: run.KernelRelease,
		Connected: connected, Coverage: run.Coverage, Acknowledged: run.Acknowledged,
	}
	if !run.Start.IsZero() {
		a.StartTime = timestamppb.New(run.Start)
	}
	if !run.Seen.IsZero() {
		a.LastSeen = timestamppb.New(run.Seen)
	}
	return a
}
