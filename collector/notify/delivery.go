// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/spoor/spoor/collector/store"
)

// delivery is one batch on its way, and what came of it.
type delivery struct {
	lane     *lane
	now      time.Time
	outcomes []store.Outcome
	// failed are those that must be sent again.
	failed []attempt
}

// deliver sends all at once and, when the receiver refuses that, halves until it is known which of them it will not
// have: one bad alert must not take others with it. It returns the error after which the receiver was left alone.
func (d *delivery) deliver(ctx context.Context, attempts []attempt) error {
	err := d.send(ctx, attempts)
	switch {
	case err == nil:
		d.succeeded(attempts)
		return nil
	case !errors.Is(err, ErrRefused):
		d.failed = append(d.failed, attempts...)
		return err
	case len(attempts) == 1:
		d.givenUp(attempts[0], err)
		return nil
	}
	half := len(attempts) / 2
	if err := d.deliver(ctx, attempts[:half]); err != nil {
		d.failed = append(d.failed, attempts[half:]...)
		return err
	}
	return d.deliver(ctx, attempts[half:])
}

func (d *delivery) send(ctx context.Context, attempts []attempt) error {
	alerts := make([]*Alert, len(attempts))
	for i, a := range attempts {
		a.alert.Memo = a.notice.Memo
		alerts[i] = a.alert
	}
	ctx, cancel := context.WithTimeout(ctx, d.lane.o.SendTimeout)
	defer cancel()
	begun := time.Now()
	err := d.lane.receiver.Send(ctx, alerts)
	d.lane.metrics.seconds.Observe(time.Since(begun).Seconds())
	return err
}

func (d *delivery) succeeded(attempts []attempt) {
	l := d.lane
	if l.refusals > 0 {
		l.logger.Info("the receiver takes alerts again", "failures", l.refusals)
		l.refusals = 0
	}
	l.metrics.delivered.Add(float64(len(attempts)))
	for _, a := range attempts {
		d.outcomes = append(d.outcomes, store.Outcome{
			Fingerprint: a.notice.Finding.GetFingerprint(), Revision: a.notice.Revision,
			// While it is open it stays: the receiver is told again.
			Done: a.alert.Resolved, Next: d.now.Add(l.o.Resend), Memo: a.alert.Memo,
		})
	}
}

func (d *delivery) givenUp(a attempt, err error) {
	f := a.notice.Finding
	d.lane.metrics.givenUp.Inc()
	d.lane.logger.Error("an alert was refused and is given up until its finding changes or the collector starts again",
		"finding", f.GetId(), "rule", f.GetRule(), "title", f.GetTitle(), "resolved", a.alert.Resolved, "error", err)
	d.outcomes = append(d.outcomes, store.Outcome{
		Fingerprint: f.GetFingerprint(), Revision: a.notice.Revision, Done: true, Failed: true, Problem: err.Error(), Next: d.now, Memo: a.notice.Memo,
	})
}

// retry puts down that what failed is to be sent again.
func (d *delivery) retry(problem error, at time.Time) {
	for _, a := range d.failed {
		d.outcomes = append(d.outcomes, store.Outcome{
			Fingerprint: a.notice.Finding.GetFingerprint(), Revision: a.notice.Revision, Failed: true, Problem: problem.Error(), Next: at, Memo: a.notice.Memo,
		})
	}
}

// backoff is the pause after so many failures in a row: it doubles from low up to high, less a random half of it, so
// that those who failed together do not come back together.
func backoff(failures int, low, high time.Duration) time.Duration {
	d := low
	for i := 1; i < failures && d < high; i++ {
		d *= 2
	}
	d = min(d, high)
	return d - time.Duration(rand.Int64N(int64(d)/2+1)) //nolint:gosec // G404: nobody gains from guessing it
}
