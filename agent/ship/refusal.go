// SPDX-License-Identifier: Apache-2.0

package ship

import "github.com/spoor/spoor/api/uplink"

// refusal is the batch that the collector refused last, and how often in a row. Batches are acknowledged in their order, so
// it is the first one behind the last acknowledgement; or one of those that went in one message with it, up to through: those are sent
// one by one then, to find out which.
type refusal struct {
	epoch   string
	number  uint64
	times   int
	through uint64
}

// among reports whether the batch behind a number may be one that was refused.
func (r *refusal) among(src source, after uint64) bool {
	return r.times > 0 && after < r.through && src.hello().GetEpoch() == r.epoch
}

// consider decides what becomes of something that the collector says it will never take: without a decision nothing behind it
// would arrive.
func (c *Client) consider(src source, acked uint64, welcomed bool, err error) {
	left, isLeft := src.(*leftover)
	switch {
	case !uplink.Refuses(err):
		c.refused = refusal{}
	case welcomed:
		c.count(src, acked, err)
	case isLeft:
		c.log.Error("the collector refuses an earlier run as a whole; its events stay in the spool while there is room",
			"epoch", left.who.GetEpoch(), "cluster", left.who.GetCluster(), "node", left.who.GetNode(), "error", err)
		c.left, c.aside = c.left[1:], append(c.aside, left)
	}
}

func (c *Client) count(src source, acked uint64, err error) {
	b := src.next(acked)
	if b == nil {
		return
	}
	if epoch := src.hello().GetEpoch(); c.refused.epoch != epoch || c.refused.number != b.GetSequence() {
		c.refused = refusal{epoch: epoch, number: b.GetSequence()}
	}
	c.refused.through = max(c.refused.through, c.sent)
	if c.refused.times++; c.refused.times < maxRefusals {
		return
	}
	c.log.Error("the collector refuses a batch again and again: it is given up", "batch", b.GetSequence(), "records", len(b.GetRecords()), "error", err)
	src.drop(b.GetSequence())
	c.refused = refusal{}
}

// makeRoom gives up what the collector has refused when the room is needed.
func (c *Client) makeRoom() {
	if len(c.aside) > 0 && c.queue.crowded() {
		c.aside[0].discard()
		c.aside = c.aside[1:]
	}
}
