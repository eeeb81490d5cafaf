// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/identity"
	"github.com/spoor/spoor/collector/store"
)

// outcome remembers whether the last transaction worked. When it did not, the resolver and the judge have seen
// events that are not durable, and ids were given that are not taken: all of that is thrown away.
func (c *Committer) outcome(err error, now time.Time) {
	if err == nil {
		c.backoff = 0
		return
	}
	if c.trouble == nil {
		c.o.Logger.Error("events cannot be made durable; agents keep them and send them again", "error", err)
	}
	c.backoff = min(max(2*c.backoff, minBackoff), maxBackoff)
	c.trouble, c.retry = err, now.Add(c.backoff)
	c.metrics.setTrouble(err)
}

// ready returns why nothing can be committed now, after starting over where it is time to.
func (c *Committer) ready(ctx context.Context, now time.Time) error {
	if c.trouble == nil {
		return nil
	}
	if now.Before(c.retry) {
		return c.trouble
	}
	if err := c.recover(ctx); err != nil {
		c.outcome(err, now)
		return err
	}
	c.o.Logger.Info("trying to commit again")
	return nil
}

// recover learns from the store what is durable, and what the resolver and the judge should know of it.
func (c *Committer) recover(ctx context.Context) error {
	last, err := c.o.Store.LastID(ctx)
	if err != nil {
		return err
	}
	// What other collectors are about to commit has lower ids than the last one, and is yet to be heard.
	seen, err := c.o.Store.Events(ctx, store.EventQuery{Limit: 1, Newest: true})
	if err != nil {
		return err
	}
	runs, err := c.o.Store.Runs(ctx)
	if err != nil {
		return err
	}
	clear(c.acknowledged)
	clear(c.clusters)
	for _, r := range runs {
		c.acknowledged[r.Run] = r.Acknowledged
		c.clusters[r.Node] = r.Cluster
	}
	now := time.Now()
	c.o.Resolver.Reset()
	if err := c.learn(ctx, store.EventQuery{Kinds: []store.Kind{store.KindListen}, Limit: learnListens, Newest: true}); err != nil {
		return err
	}
	if err := c.learn(ctx, store.EventQuery{Kinds: []store.Kind{store.KindFlow}, Period: store.Period{From: now.Add(-learnBack)}, Limit: learnFlows, Newest: true}); err != nil {
		return err
	}
	if err := c.o.Findings.Rebuild(ctx, now); err != nil {
		return err
	}
	c.lastID, c.heard = last, seen.Through
	c.trouble = nil
	c.metrics.setTrouble(nil)
	c.watch.tell()
	if err := c.writeFindings(ctx, now); err != nil {
		return fmt.Errorf("write findings of the past: %w", err)
	}
	return nil
}

func (c *Committer) learn(ctx context.Context, q store.EventQuery) error {
	page, err := c.o.Store.Events(ctx, q)
	if err != nil {
		return err
	}
	// Events do not say their cluster. A node's name is in one cluster as a rule; where it is in several, a flow
	// of the past few minutes may stay without its other end after a restart.
	byCluster := map[string][]*spoorv1.Event{}
	for _, ev := range page.Events {
		cluster := c.clusters[ev.GetNode()]
		byCluster[cluster] = append(byCluster[cluster], ev)
	}
	var batches []identity.Batch
	for cluster, evs := range byCluster {
		batches = append(batches, identity.Batch{Cluster: cluster, Events: evs})
	}
	c.o.Resolver.Learn(batches)
	return nil
}
