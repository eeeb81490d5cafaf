// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// replayPage is how many events are read at a time.
const replayPage = 5000

// Rebuild starts over from what is durable: with a new judge, which is shown the evidence of every open finding and
// then the recent events, so that it can go on where the last one stopped. Verdicts that the last one gave already
// change nothing; those that it could not give, because contracts changed while nobody ran, open findings.
func (e *Engine) Rebuild(ctx context.Context, now time.Time) error {
	e.judge = e.o.NewJudge()
	e.cache.Purge()
	clear(e.changed)
	e.order = e.order[:0]
	begun, events := time.Now(), 0
	last, err := e.o.Store.LastID(ctx)
	if err != nil {
		return fmt.Errorf("rebuild the judge: %w", err)
	}
	q := store.EventQuery{Period: store.Period{From: now.Add(-e.o.Replay)}, ThroughID: last, Limit: replayPage}
	if last > e.o.ReplayEvents {
		q.AfterID = last - e.o.ReplayEvents
	}
	if last == 0 {
		return nil
	}
	clock := time.Time{}
	for first := true; ; first = false {
		page, err := e.o.Store.Events(ctx, q)
		if err != nil {
			return fmt.Errorf("rebuild the judge: %w", err)
		}
		evs := page.Events
		if first {
			older, err := e.openEvidence(ctx, now, evs)
			if err != nil {
				return fmt.Errorf("rebuild the judge: %w", err)
			}
			evs = slices.Concat(older, evs)
		}
		events += len(evs)
		for _, ev := range evs {
			if err := e.Observe(ctx, ev, now); err != nil {
				return fmt.Errorf("rebuild the judge: event %d: %w", ev.GetId(), err)
			}
			// The judge's clock follows the events', forwards, in steps that are worth it, and never beyond now.
			if t := ev.GetTime().AsTime(); t.Sub(clock) >= time.Second && t.Before(now) {
				clock = t
				if err := e.apply(ctx, e.judge.Tick(t), now); err != nil {
					return fmt.Errorf("rebuild the judge: event %d: %w", ev.GetId(), err)
				}
			}
		}
		if !page.More {
			break
		}
		q.AfterID = page.Through
	}
	e.o.Logger.Info("judge rebuilt from the store", "events", events, "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// openEvidence returns the events that prove open findings and are older than those that will be replayed anyway.
func (e *Engine) openEvidence(ctx context.Context, now time.Time, replayed []*spoorv1.Event) ([]*spoorv1.Event, error) {
	open, err := e.o.Store.Findings(ctx, store.FindingQuery{States: []spoorv1.FindingState{
		spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED,
	}})
	if err != nil {
		return nil, err
	}
	e.resume(open, now)
	var ids []uint64
	for _, f := range open {
		for _, id := range f.GetEvidenceIds() {
			if len(replayed) == 0 || id < replayed[0].GetId() {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return e.o.Store.EventsByID(ctx, ids)
}
