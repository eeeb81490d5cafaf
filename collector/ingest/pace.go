// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// helloCost is what a hello takes of a node's rate, in records: it is a transaction, too, and a run that is kept for good.
	helloCost = 100
	// saidEvery is how often it is logged of a node that it is slowed.
	saidEvery = time.Minute
	// spareRates are kept of nodes that are gone before it is looked which of them have had their pause.
	spareRates = 1024
)

// paces are the rates of nodes. They outlive streams, or who breaks its connection would get another burst.
type paces struct {
	perSecond, burst int
	connected        func(nodeKey) bool

	mu     sync.Mutex
	byNode map[nodeKey]*pace
	sweep  int // how many there must be before the next look
}

type pace struct {
	limiter *rate.Limiter

	mu   sync.Mutex
	said time.Time
}

func newPaces(perSecond, burst int, connected func(nodeKey) bool) *paces {
	return &paces{perSecond: perSecond, burst: burst, connected: connected, byNode: map[nodeKey]*pace{}, sweep: spareRates}
}

// of returns the rate of a node.
func (p *paces) of(key nodeKey) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.byNode[key]; n != nil {
		return n
	}
	if len(p.byNode) >= p.sweep {
		for k, n := range p.byNode {
			// A full bucket is as good as a new one.
			if n.limiter.Tokens() >= float64(p.burst) && !p.connected(k) {
				delete(p.byNode, k)
			}
		}
		p.sweep = 2*len(p.byNode) + spareRates
	}
	n := &pace{limiter: rate.NewLimiter(rate.Limit(p.perSecond), p.burst)}
	p.byNode[key] = n
	return n
}

// spend waits until the node may send again after records that it has sent. What is spent stays so if ctx ends.
func (p *pace) spend(ctx context.Context, records int, wait func(reason string) (over func())) error {
	now := time.Now()
	var delay time.Duration
	for records > 0 { // a reservation is of a whole burst at most
		part := min(records, p.limiter.Burst())
		delay = p.limiter.ReserveN(now, part).DelayFrom(now)
		records -= part
	}
	if delay <= 0 {
		return nil
	}
	defer wait(slowedRate)()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// say reports whether it is time to log that the node is slowed.
func (p *pace) say(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.said) < saidEvery {
		return false
	}
	p.said = now
	return true
}
