// SPDX-License-Identifier: Apache-2.0

package notify_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/notify"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// told is one alert as a receiver heard it.
type told struct {
	at       time.Time
	id       string
	resolved bool
	until    time.Time
	memo     string
}

// listener is a receiver that writes down what it is told, and answers what it is made to.
type listener struct {
	name string
	// answer decides about a Send; nil takes everything.
	answer func(ctx context.Context, alerts []*notify.Alert) error

	mu    sync.Mutex
	calls []time.Time
	heard []told
	total int
}

func (l *listener) Name() string { return l.name }

func (l *listener) Send(ctx context.Context, alerts []*notify.Alert) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, time.Now())
	if l.answer != nil {
		if err := l.answer(ctx, alerts); err != nil {
			return err
		}
	}
	for _, a := range alerts {
		l.heard = append(l.heard, told{time.Now(), a.Finding.GetId(), a.Resolved, a.Until, string(a.Memo)})
		l.total++
		a.Memo = fmt.Append(nil, l.total)
	}
	return nil
}

// take returns what was heard since the last take.
func (l *listener) take() []told {
	l.mu.Lock()
	defer l.mu.Unlock()
	heard := l.heard
	l.heard = nil
	return heard
}

// called returns when Send was called.
func (l *listener) called() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

func (l *listener) answers(f func(context.Context, []*notify.Alert) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = f
}

// desk is a store, and a notifier that can be killed and started again.
type desk struct {
	*testing.T
	dir       string
	store     *sqlite.Store
	receivers []notify.Receiver
	names     []string
	wake      chan struct{}
	registry  *prometheus.Registry
	kill      func()
}

func openDesk(t *testing.T, receivers ...notify.Receiver) *desk {
	t.Helper()
	d := &desk{T: t, dir: t.TempDir(), receivers: receivers}
	for _, r := range receivers {
		d.names = append(d.names, r.Name())
	}
	d.open()
	return d
}

func (d *desk) open() {
	d.Helper()
	var err error
	if d.store, err = sqlite.Open(sqlite.Options{Dir: d.dir, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		d.Fatal(err)
	}
}

// run starts the notifier.
func (d *desk) run(change ...func(*notify.Options)) {
	d.Helper()
	d.wake, d.registry = make(chan struct{}, 1), prometheus.NewRegistry()
	o := notify.Options{Outbox: d.store, Receivers: d.receivers, Wake: d.wake, Registerer: d.registry, Logger: slog.New(slog.NewTextHandler(d.Output(), nil))}
	for _, f := range change {
		f(&o)
	}
	n, err := notify.New(o)
	if err != nil {
		d.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	d.kill = func() {
		cancel()
		if err := <-ended; err != nil {
			d.Errorf("the notifier ended with: %v", err)
		}
	}
}

// shut kills the notifier and closes the store.
func (d *desk) shut() {
	d.Helper()
	d.kill()
	if err := d.store.Close(); err != nil {
		d.Error(err)
	}
}

// put stores a finding as the collector does.
func (d *desk) put(findings ...*spoorv1.Finding) {
	d.Helper()
	w := &store.Write{Receivers: d.names}
	for _, f := range findings {
		w.Findings = append(w.Findings, store.FindingChange{Finding: proto.CloneOf(f), Notify: true})
	}
	if err := d.store.Write(context.Background(), w); err != nil {
		d.Fatal(err)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// expect compares what was heard, in order: ids, with a minus for resolved ones.
func expect(t *testing.T, l *listener, want ...string) []told {
	t.Helper()
	heard := l.take()
	got := make([]string, len(heard))
	for i, h := range heard {
		if got[i] = h.id; h.resolved {
			got[i] = "-" + h.id
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("heard %q, want %q", got, want)
	}
	return heard
}

func finding(id string, state spoorv1.FindingState) *spoorv1.Finding {
	return &spoorv1.Finding{
		Id: id, Fingerprint: id + strings.Repeat("0", 64-len(id)), Rule: "state.local", Severity: spoorv1.Severity_SEVERITY_HIGH,
		Workload: &spoorv1.Workload{Cluster: "c1", Namespace: "shop", Kind: "Deployment", Name: "checkout"},
		Owner:    &spoorv1.Owner{Team: "payments", Oncall: "payments-primary"},
		Title:    "checkout keeps /var/lib/x", Why: "It is lost at the next restart.", Fix: "Move it to a volume.", Subject: "/var/lib/x",
		State: state, Count: 1, EvidenceIds: []uint64{4, 5}, Contract: "shop/checkout",
		FirstSeen: timestamppb.New(time.Now().Add(-time.Minute)), LastSeen: timestamppb.Now(), StateChanged: timestamppb.New(time.Now().Add(-time.Second)),
	}
}

// metric returns the value of a series of receiver "am", named by its other labels.
func (d *desk) metric(name string, labels ...string) float64 {
	d.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		d.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			values := map[string]bool{}
			for _, l := range m.GetLabel() {
				values[l.GetValue()] = true
			}
			matches := family.GetName() == "spoor_collector_notify_"+name
			for _, l := range labels {
				matches = matches && values[l]
			}
			if matches {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	d.Fatalf("no metric %s %v", name, labels)
	return 0
}
