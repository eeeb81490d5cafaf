// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"maps"

	"github.com/spoor/spoor/collector/store"
)

// begin asks a store that other collectors write to, too, for ids that nobody else gets, and for what is durable of the runs: their agents may
// have been elsewhere since they were here.
func (c *Committer) begin(ctx context.Context, group []*submission) error {
	shared, ok := c.o.Store.(store.Shared)
	if !ok {
		return nil
	}
	batches := make([]store.Batch, len(group))
	for i, s := range group {
		if s.hello != nil {
			batches[i].Run = s.hello.Run
		} else {
			batches[i] = *s.batch
		}
	}
	first, acknowledged, err := shared.Begin(ctx, batches)
	if err != nil {
		return err
	}
	c.lastID = first - 1
	maps.Copy(c.acknowledged, acknowledged)
	return nil
}

// Nodes returns the nodes whose agents have a stream open.
func (s *Service) Nodes() []store.Node {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	nodes := make([]store.Node, 0, len(s.sessions.byNode))
	for key := range s.sessions.byNode {
		nodes = append(nodes, store.Node{Cluster: key.cluster, Name: key.node})
	}
	return nodes
}
