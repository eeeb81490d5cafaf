// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"maps"
	"time"

	"github.com/spoor/spoor/collector/identity"
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

const (
	// overheard is how many events of other collectors are looked at in one go, and overhearGoes how often at a time: agents wait meanwhile.
	overheard, overhearGoes = 5000, 4
)

// overhear shows the resolver and the judge what other collectors have stored: both ends of a connection may tell of it to different collectors, and
// an agent may have been elsewhere a moment ago. So all of them come to the same verdicts; who is second finds that nothing is new.
func (c *Committer) overhear(ctx context.Context, now time.Time) error {
	shared, ok := c.o.Store.(store.Shared)
	if !ok {
		return nil
	}
	for range overhearGoes {
		batches, through, err := shared.Others(ctx, c.heard, overheard)
		if err != nil {
			return err
		}
		events := 0
		var heard []identity.Batch
		for _, b := range batches {
			events += len(b.Events)
			heard = append(heard, identity.Batch{Cluster: b.Run.Cluster, Events: b.Events})
		}
		w := &store.Write{Receivers: c.o.Receivers}
		if err := c.judge(ctx, w, c.o.Resolver.Overhear(heard), heard, now); err != nil {
			return err
		}
		c.heard = through
		c.metrics.overheard.Add(float64(events))
		if len(w.Findings)+len(w.Named) > 0 {
			if err := c.o.Store.Write(ctx, w); err != nil {
				return err
			}
			c.tell(w.Findings)
		}
		if events > 0 {
			c.watch.tell()
		}
		if events < overheard {
			return nil
		}
	}
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
