// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Receiver is somebody who is told of alerts.
type Receiver interface {
	// Name identifies the receiver's outbox, and its metrics: it must stay the same over restarts.
	Name() string
	// Send tells of all alerts, or returns an error. It may be called again with an alert that it told of already,
	// and must not make two of it. An error that wraps ErrRefused says that trying again would not help; a *Delayed
	// says when it would; after any other error Send is called again, with ever longer pauses.
	Send(ctx context.Context, alerts []*Alert) error
}

// Alert is a finding on its way to a receiver.
type Alert struct {
	Finding *spoorv1.Finding
	// Resolved: the finding is over, by itself or because somebody said so.
	Resolved bool
	// Time is now. Until then the alert holds without being told again; it is told again well before.
	Time, Until time.Time
	// Memo is what the last Send of this finding that succeeded left here; it is gone when the finding is resolved.
	Memo []byte
}

// ErrRefused: the receiver will never take what it was sent.
var ErrRefused = errors.New("refused by the receiver")

// Delayed is a failure whose receiver said when to come back.
type Delayed struct {
	Err   error
	After time.Duration
}

func (d *Delayed) Error() string { return fmt.Sprintf("%v (try again after %v)", d.Err, d.After) }

// Unwrap returns the failure.
func (d *Delayed) Unwrap() error { return d.Err }

// Options of New. Outbox is required; zero values mean the defaults.
type Options struct {
	Outbox    store.Outbox
	Receivers []Receiver
	// Wake is sent to when something was put into the outboxes. Without it, that is noticed within 15 s.
	Wake <-chan struct{}
	// Resend is how often an alert is told while its finding is open: once a minute, so that a receiver that forgot
	// everything knows all after a minute. An alert that was not told for four times as long ends by itself, for
	// receivers that do that.
	Resend time.Duration
	// MinBackoff and MaxBackoff bound the pause after a failure, which doubles from one to the next: 1 s and 1 min.
	MinBackoff, MaxBackoff time.Duration
	// SendTimeout is how long a receiver may take: 15 s.
	SendTimeout time.Duration
	// Batch is how many alerts are sent at once at most: 64.
	Batch      int
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field     *time.Duration
		byDefault time.Duration
	}{{&o.Resend, time.Minute}, {&o.MinBackoff, time.Second}, {&o.MaxBackoff, time.Minute}, {&o.SendTimeout, 15 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.byDefault
		}
	}
	if o.Batch == 0 {
		o.Batch = 64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("notify: option "+format, args...)) }
	if o.Outbox == nil {
		bad("Outbox is nil")
	}
	seen := map[string]bool{}
	for i, r := range o.Receivers {
		switch name := r.Name(); {
		case name == "":
			bad("Receivers: the one at %d has no name", i)
		case seen[name]:
			bad("Receivers: two are called %q, and would share an outbox", name)
		default:
			seen[name] = true
		}
	}
	if o.Resend < 0 || o.SendTimeout < 0 || o.Batch < 0 {
		bad("Resend, SendTimeout and Batch must not be negative")
	}
	if o.MinBackoff < 0 || o.MaxBackoff < o.MinBackoff {
		bad("MaxBackoff (%v) must not be below MinBackoff (%v), nor that below 0", o.MaxBackoff, o.MinBackoff)
	}
	return errors.Join(errs...)
}

// Notifier empties the outboxes of its receivers.
type Notifier struct {
	o     Options
	lanes []*lane
}

// New makes a Notifier. It starts nothing.
func New(o Options) (*Notifier, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	n := &Notifier{o: o}
	for _, r := range o.Receivers {
		n.lanes = append(n.lanes, newLane(&n.o, r, m))
	}
	return n, nil
}

// Names returns the receivers' names: what store.Write.Receivers must be for their outboxes to fill.
func (n *Notifier) Names() []string {
	names := make([]string, len(n.lanes))
	for i, l := range n.lanes {
		names[i] = l.name
	}
	return names
}

// Run tells receivers until ctx ends. Each has its own goroutine: one that hangs holds up no other.
func (n *Notifier) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for _, l := range n.lanes {
		lanes.Go(func() { l.run(ctx) })
	}
	wake := n.o.Wake
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-wake:
			if !open {
				wake = nil
			}
			for _, l := range n.lanes {
				l.nudge()
			}
		}
	}
}
