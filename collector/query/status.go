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
	nodes, err := s.runs(ctx)
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
	for _, node := range nodes {
		if last := &node[len(node)-1]; about.concerns(last.Cluster, last.Node) {
			response.Agents = append(response.Agents, s.agentStatus(last))
		}
	}
	response.Completeness, err = s.completenessOf(ctx, nodes, about)
	return response, err
}

func (s *Service) agentStatus(run *store.RunStatus) *spoorv1.AgentStatus {
	a := &spoorv1.AgentStatus{
		Cluster: run.Cluster, Node: run.Node, Epoch: run.Epoch, Version: run.Version, KernelRelease: run.KernelRelease,
		Connected: s.o.Connected(run.Cluster, run.Node), Coverage: run.Coverage, Acknowledged: run.Acknowledged,
	}
	if !run.Start.IsZero() {
		a.StartTime = timestamppb.New(run.Start)
	}
	if !run.Seen.IsZero() {
		a.LastSeen = timestamppb.New(run.Seen)
	}
	return a
}

// byNode splits runs into those of each node, in their order: the latest last.
func byNode(runs []store.RunStatus) [][]store.RunStatus {
	var nodes [][]store.RunStatus
	at := map[[2]string]int{}
	for _, run := range runs {
		key := [2]string{run.Cluster, run.Node}
		i, ok := at[key]
		if !ok {
			i = len(nodes)
			at[key] = i
			nodes = append(nodes, nil)
		}
		nodes[i] = append(nodes[i], run)
	}
	return nodes
}
