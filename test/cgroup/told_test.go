// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"sync"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// told is what an agent tells, one batch at a time.
type told struct {
	*testing.T
	mu      sync.Mutex
	covered bool // it said what it can see
}

// each hands on the records of a batch that are about what happened, and shows what was lost.
func (c *told) each(batch *spoorv1.Batch, fn func(*spoorv1.Record)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range batch.GetRecords() {
		switch {
		case r.GetCoverage() != nil:
			c.covered = true
		case r.GetLoss() != nil:
			c.Logf("lost: %d of %s, %s", r.GetLoss().GetCount(), r.GetLoss().GetSource(), r.GetLoss().GetReason())
		default:
			fn(r)
		}
	}
}

// untilCovered waits until the agent is at work.
func (c *told) untilCovered() {
	c.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		covered := c.covered
		c.mu.Unlock()
		if covered {
			return
		}
		if time.Now().After(deadline) {
			c.Fatal("the agent does not say what it can see")
		}
	}
}
