// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// maxNodes is how many processes a tree shows at most.
const maxNodes = 5000

// ListEdges implements spoorv1connect.QueryServiceHandler.
func (s *Service) ListEdges(ctx context.Context, r *connect.Request[spoorv1.ListEdgesRequest]) (*connect.Response[spoorv1.ListEdgesResponse], error) {
	return answer(ctx, s, "ListEdges", r, s.listEdges)
}

func (s *Service) listEdges(ctx context.Context, r *spoorv1.ListEdgesRequest) (_ *spoorv1.ListEdgesResponse, err error) {
	q := store.EdgeQuery{Limit: maxEdges + 1}
	if q.From, q.To, err = interval("from", r.GetFrom(), "to", r.GetTo()); err != nil {
		return nil, err
	}
	if q.Workload, err = pattern("workload", r.GetWorkload(), "cluster", r.GetCluster()); err != nil {
		return nil, err
	}
	edges, err := s.o.Store.Edges(ctx, q)
	if err != nil {
		return nil, err
	}
	var cut []string
	if len(edges) > maxEdges {
		edges = edges[:maxEdges]
		cut = append(cut, fmt.Sprintf("there are more edges than the %d that were seen last: ask for one workload or a shorter time", maxEdges))
	}
	// Either end may be anywhere, so the workload does not narrow where a loss matters.
	completeness, err := s.completeness(ctx, scope{from: q.From, to: q.To, kinds: []store.Kind{store.KindFlow}}, cut...)
	if err != nil {
		return nil, err
	}
	return &spoorv1.ListEdgesResponse{Edges: edges, Completeness: completeness}, nil
}

// GetTree implements spoorv1connect.QueryServiceHandler.
func (s *Service) GetTree(ctx context.Context, r *connect.Request[spoorv1.GetTreeRequest]) (*connect.Response[spoorv1.GetTreeResponse], error) {
	return answer(ctx, s, "GetTree", r, s.getTree)
}

func (s *Service) getTree(ctx context.Context, r *spoorv1.GetTreeRequest) (*spoorv1.GetTreeResponse, error) {
	id, err := s.execID(ctx, "exec_id", r.GetExecId())
	if err != nil {
		return nil, err
	}
	nodes, cut, err := s.o.Store.Tree(ctx, id, maxNodes)
	if err != nil {
		return nil, err
	}
	var gaps []string
	if cut {
		gaps = append(gaps, fmt.Sprintf("the tree has more than %d processes: ask for one further down", maxNodes))
	}
	if len(nodes) > 0 && parentMissing(nodes[0].GetProcess()) {
		p := nodes[0].GetProcess()
		gaps = append(gaps, fmt.Sprintf("who started %s[%d] is not known: it was not seen, or is no longer stored", p.GetComm(), p.GetTgid()))
	}
	known, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	about := scope{kinds: []store.Kind{store.KindProcessStart, store.KindProcessExit}}
	for _, n := range nodes {
		if n.GetProcess().GetExecId() == id {
			// What it started was started after it.
			about.node = n.GetNode()
			if start := n.GetProcess().GetStartTime(); start.IsValid() {
				about.from = start.AsTime().Add(-aheadNow(known, n.GetNode()))
			}
		}
	}
	completeness, err := s.completenessOf(ctx, known, about, gaps...)
	if err != nil {
		return nil, err
	}
	return &spoorv1.GetTreeResponse{Nodes: nodes, Completeness: completeness}, nil
}

// parentMissing: the topmost process that is shown has a parent. The kernel itself (tgid 0) started init and kthreadd.
func parentMissing(top *spoorv1.Process) bool {
	return top.GetParentExecId() != "" && top.GetTgid() > 2
}
