// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"log/slog"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

const (
	// idle is how long an outbox goes without a look.
	idle = 15 * time.Second
	// settleTimeout is how long a stop waits to write down what a receiver was told; otherwise it is told again.
	settleTimeout = 5 * time.Second
	// longestDelay bounds what a receiver can ask for.
	longestDelay = 15 * time.Minute
	// validity is how many resends may fail before an alert ends by itself.
	validity = 4
)

// lane empties the outbox of one receiver.
type lane struct {
	o        *Options
	receiver Receiver
	name     string
	metrics  *laneMetrics
	logger   *slog.Logger
	nudged   chan struct{}

	// Failures in a row: of the receiver, and of the store. Both are forgotten by a restart, the attempts of each
	// notice are not.
	refusals, storeFailures int
}

func newLane(o *Options, r Receiver, m *metrics) *lane {
	name := r.Name()
	return &lane{
		o: o, receiver: r, name: name, metrics: m.of(name), logger: o.Logger.With("receiver", name), nudged: make(chan struct{}, 1),
	}
}

func (l *lane) nudge() {
	select {
	case l.nudged <- struct{}{}:
	default: // it will look anyway
	}
}

func (l *lane) run(ctx context.Context) {
	for l.enrol(ctx) != nil {
		if !l.pause(ctx, l.storePause()) {
			return
		}
	}
	l.storeFailures = 0
	for ctx.Err() == nil {
		switch next := l.round(ctx); {
		case next.failed:
			// The receiver, or the store, is left alone for a while, whatever else comes in.
			if !l.pause(ctx, next.after) {
				return
			}
		case next.after > 0:
			l.wait(ctx, next.after)
		}
	}
}

func (l *lane) enrol(ctx context.Context) error {
	err := l.o.Outbox.Enrol(ctx, l.name, time.Now())
	if err != nil && ctx.Err() == nil {
		l.storeFailed("its outbox cannot be set up", err)
	}
	return err
}

// pause waits and says whether to go on.
func (l *lane) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait is a pause that ends early when something comes in.
func (l *lane) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.nudged:
	case <-ctx.Done():
	}
}

// next says when the next round is due; 0 is at once.
type next struct {
	after  time.Duration
	failed bool
}

// round tells the receiver what is due, one batch of it.
func (l *lane) round(ctx context.Context) next {
	now := time.Now()
	notices, err := l.o.Outbox.Due(ctx, l.name, now, l.o.Batch)
	if err != nil {
		return l.storeTrouble(ctx, "its outbox cannot be read", err)
	}
	if len(notices) == 0 {
		return l.rest(ctx, now)
	}
	d := delivery{lane: l, now: now}
	problem := d.deliver(ctx, l.attempts(notices, now))
	if problem != nil && ctx.Err() != nil {
		problem = nil // it was the stop that failed it: no attempt, and due when we are back
	}
	pause := time.Duration(0)
	if problem != nil {
		pause = l.failed(d.failed, problem)
		d.retry(problem, now.Add(pause))
	}
	if err := l.settle(ctx, d.outcomes); err != nil {
		return l.storeTrouble(ctx, "what was told cannot be written down and will be told again", err)
	}
	l.storeFailures = 0
	l.count(ctx)
	return next{after: pause, failed: problem != nil}
}

// rest says when to look again at an outbox of which nothing is due.
func (l *lane) rest(ctx context.Context, now time.Time) next {
	at, found, err := l.o.Outbox.NextDue(ctx, l.name)
	if err != nil {
		return l.storeTrouble(ctx, "its outbox cannot be read", err)
	}
	l.storeFailures = 0
	l.count(ctx)
	after := idle
	switch ahead := at.Sub(now); {
	case found && ahead > 0:
		after = min(after, ahead)
	case found:
		// It came in since Due was asked, and a nudge is on its way; or the store contradicts itself.
		after = l.o.MinBackoff
	}
	return next{after: after}
}

// attempt is a notice with the alert that is made of it.
type attempt struct {
	notice *store.Notice
	alert  *Alert
}

func (l *lane) attempts(notices []*store.Notice, now time.Time) []attempt {
	all := make([]attempt, len(notices))
	for i, n := range notices {
		all[i] = attempt{n, &Alert{
			Finding: n.Finding, Resolved: over(n.Finding.GetState()), Time: now, Until: now.Add(validity * l.o.Resend), Memo: n.Memo,
		}}
	}
	return all
}

func over(s spoorv1.FindingState) bool {
	return s == spoorv1.FindingState_FINDING_STATE_RESOLVED || s == spoorv1.FindingState_FINDING_STATE_EXPIRED
}

func (l *lane) settle(ctx context.Context, outcomes []store.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return l.o.Outbox.Settle(ctx, l.name, outcomes)
}

// failed says how long to leave the receiver alone.
func (l *lane) failed(attempts []attempt, problem error) time.Duration {
	l.refusals++
	times := l.refusals
	for _, a := range attempts {
		times = max(times, a.notice.Attempts+1)
	}
	pause := backoff(times, l.o.MinBackoff, l.o.MaxBackoff)
	if delayed, ok := errors.AsType[*Delayed](problem); ok {
		pause = max(pause, min(delayed.After, longestDelay))
	}
	l.metrics.failed.Add(float64(len(attempts)))
	l.logger.Warn("alerts could not be delivered and will be sent again", "alerts", len(attempts), "in", pause.Round(time.Millisecond), "error", problem)
	return pause
}

// count keeps the gauges up to date.
func (l *lane) count(ctx context.Context) {
	all, failing, err := l.o.Outbox.Pending(ctx, l.name)
	if err != nil {
		if ctx.Err() == nil {
			l.storeFailed("its outbox cannot be counted", err)
		}
		return
	}
	l.metrics.pending.Set(float64(all))
	l.metrics.failing.Set(float64(failing))
}

func (l *lane) storeTrouble(ctx context.Context, what string, err error) next {
	if ctx.Err() == nil {
		l.storeFailed(what, err)
	}
	return next{after: l.storePause(), failed: true}
}

func (l *lane) storeFailed(what string, err error) {
	l.storeFailures++
	l.metrics.storeErrors.Inc()
	l.logger.Error("the store failed the receiver", "problem", what, "error", err)
}

func (l *lane) storePause() time.Duration {
	return backoff(l.storeFailures, l.o.MinBackoff, l.o.MaxBackoff)
}
