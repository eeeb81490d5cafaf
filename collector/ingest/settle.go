// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"slices"

	"github.com/spoor/spoor/collector/store"
)

// settled is a group that is committed, and may have yet to come to the disk, or that could not be.
type settled struct {
	failed   error
	group    []*submission
	findings []store.FindingChange
	durable  func() error
}

// settle answers groups when they are on the disk, while the committer goes on with the next: bringing one there takes as long as making it. One
// may be on its way and another one wait.
func (c *Committer) settle(groups <-chan settled) {
	for g := range groups {
		err := g.failed
		if err == nil {
			if err = g.durable(); err != nil {
				c.metrics.setTrouble(err) // the store takes nothing more: the committer will hear so
			}
		}
		if err == nil {
			if slices.ContainsFunc(g.group, func(s *submission) bool { return s.batch != nil && !s.duplicate }) {
				c.watch.tell()
			}
			c.tell(g.findings)
		}
		for _, s := range g.group {
			s.done <- err
		}
	}
}

// put writes a transaction, and returns what waits for it to be durable.
func (c *Committer) put(ctx context.Context, w *store.Write) (durable func() error, err error) {
	if ahead, ok := c.o.Store.(store.Ahead); ok {
		return ahead.WriteAhead(ctx, w)
	}
	return func() error { return nil }, c.o.Store.Write(ctx, w)
}
