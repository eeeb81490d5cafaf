// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"time"

	"github.com/spoor/spoor/contract"
)

// reloadEvery is how often it is asked whether contracts have changed.
const reloadEvery = 2 * time.Second

// reload takes contracts that changed until ctx ends. Those that cannot be read change nothing: what was agreed before holds.
func (c *Collector) reload(ctx context.Context) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	var waiting *contract.Set // could not be taken yet
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		set, changed, err := c.o.Reload()
		switch {
		case err != nil:
			c.reloads.WithLabelValues("refused").Inc()
			c.o.Logger.Error("contracts changed and cannot be read: those before go on to hold", "error", err)
			continue
		case changed:
			waiting = set
		case waiting == nil:
			continue
		}
		set = waiting
		err = c.committer.Change(ctx, func(ctx context.Context, now time.Time) error {
			// Here nobody else makes a judge.
			c.contracts = set
			return c.findings.Reload(ctx, set, now)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.o.Logger.Error("findings cannot follow contracts that changed, and will be asked again", "error", err)
		default:
			waiting = nil
			c.reloads.WithLabelValues("taken").Inc()
			c.o.Logger.Info("contracts changed", "contracts", len(set.Contracts()))
		}
	}
}
