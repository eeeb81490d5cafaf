// SPDX-License-Identifier: Apache-2.0

package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/notify"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	isOpen     = spoorv1.FindingState_FINDING_STATE_OPEN
	isResolved = spoorv1.FindingState_FINDING_STATE_RESOLVED
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

func TestToldAgainWhileOpenAndOnceWhenResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am"}
		d := openDesk(t, am)
		d.run()
		defer d.shut()
		f := finding("aa", isOpen)
		begun := time.Now()
		d.put(f)
		synctest.Wait()
		first := expect(t, am, "aa")
		if !first[0].at.Equal(begun) || first[0].until.Sub(begun) != 4*time.Minute {
			t.Errorf("told %v after the finding, until %v", first[0].at.Sub(begun), first[0].until)
		}
		time.Sleep(3*time.Minute + time.Second)
		again := expect(t, am, "aa", "aa", "aa")
		for i, h := range again {
			if late := h.at.Sub(begun) - time.Duration(i+1)*time.Minute; late < 0 || late > time.Second {
				t.Errorf("told again after %v", h.at.Sub(begun))
			}
			if want := fmt.Sprint(i + 1); h.memo != want {
				t.Errorf("the memo of the last success was %q, want %s", h.memo, want)
			}
		}
		f.State = spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED
		d.put(f)
		synctest.Wait()
		expect(t, am, "aa")
		f.State = isResolved
		d.put(f)
		synctest.Wait()
		expect(t, am, "-aa")
		time.Sleep(time.Hour)
		expect(t, am)
		if n := d.metric("pending", "am"); n != 0 {
			t.Errorf("%v alerts are pending", n)
		}
		// Its next life begins without a memory of this one.
		f.State = isOpen
		d.put(f)
		synctest.Wait()
		if heard := expect(t, am, "aa"); heard[0].memo != "" {
			t.Errorf("the memo of a former life: %q", heard[0].memo)
		}
	})
}

func TestTriedAgainUntilItIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am", answer: func(context.Context, []*notify.Alert) error { return errors.New("down") }}
		d := openDesk(t, am)
		d.run()
		defer d.shut()
		d.put(finding("aa", isOpen))
		time.Sleep(10 * time.Minute)
		// What comes in meanwhile does not hurry it.
		for i := range 200 {
			d.put(finding(fmt.Sprintf("b%03d", i), isOpen))
			time.Sleep(time.Second)
		}
		calls := am.called()
		low, high := 500*time.Millisecond, time.Second
		for i := 1; i < len(calls); i++ {
			if pause := calls[i].Sub(calls[i-1]); pause < low || pause > high+time.Millisecond {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, low, high)
			}
			low, high = min(2*low, 30*time.Second), min(2*high, time.Minute)
		}
		if len(calls) < 15 || len(calls) > 40 {
			t.Errorf("%d attempts in 13 minutes", len(calls))
		}
		if n := d.metric("failing", "am"); n == 0 {
			t.Error("nothing is failing")
		}
		am.answers(nil)
		time.Sleep(70 * time.Second)
		ids := map[string]int{}
		for _, h := range am.take() {
			ids[h.id]++
		}
		if len(ids) != 201 {
			t.Errorf("%d of 201 findings were heard", len(ids))
		}
		if n := d.metric("failing", "am"); n != 0 {
			t.Errorf("%v alerts are failing", n)
		}
	})
}

func TestOneThatIsRefusedTakesNoOtherWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am", answer: func(_ context.Context, alerts []*notify.Alert) error {
			for _, a := range alerts {
				if a.Finding.GetId() == "bad07" {
					return fmt.Errorf("%w: no", notify.ErrRefused)
				}
			}
			return nil
		}}
		d := openDesk(t, am)
		d.run()
		defer d.shut()
		var all []*spoorv1.Finding
		for i := range 50 {
			all = append(all, finding(fmt.Sprintf("bad%02d", i), isOpen))
		}
		d.put(all...)
		synctest.Wait()
		heard := map[string]int{}
		for _, h := range am.take() {
			heard[h.id]++
		}
		if len(heard) != 49 || heard["bad07"] != 0 {
			t.Errorf("%d of 49 were heard: %v", len(heard), heard)
		}
		for id, n := range heard {
			if n != 1 {
				t.Errorf("%s was heard %d times", id, n)
			}
		}
		if n := d.metric("alerts_total", "am", "given_up"); n != 1 {
			t.Errorf("%v were given up", n)
		}
		if n := len(am.called()); n > 15 {
			t.Errorf("%d requests to find one of 50", n)
		}
		time.Sleep(10 * time.Minute)
		if n := d.metric("alerts_total", "am", "given_up"); n != 1 {
			t.Errorf("what was given up was tried again: %v", n)
		}
		// When its finding changes, it gets another chance.
		d.put(finding("bad07", isResolved))
		synctest.Wait()
		if n := d.metric("alerts_total", "am", "given_up"); n != 2 {
			t.Errorf("what changed was not tried: %v", n)
		}
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am"}
		d := openDesk(t, am)
		open, over := finding("aa", isOpen), finding("bb", isOpen)
		if err := d.store.Write(t.Context(), &store.Write{Findings: []store.FindingChange{{Finding: open}, {Finding: over}}}); err != nil {
			t.Fatal(err)
		}
		// Findings that are older than the receiver are told, too.
		d.run()
		synctest.Wait()
		expect(t, am, "aa", "bb")
		time.Sleep(10 * time.Second)
		d.shut()
		d.open()
		over.State = isResolved
		d.put(over)
		d.run()
		synctest.Wait()
		if heard := expect(t, am, "-bb"); heard[0].memo != "2" {
			t.Errorf("after a restart the memo is %q", heard[0].memo)
		}
		// The other one goes on in its rhythm.
		time.Sleep(49 * time.Second)
		expect(t, am)
		time.Sleep(2 * time.Second)
		expect(t, am, "aa")

		// A resolve that fails is kept over a restart as well.
		am.answers(func(context.Context, []*notify.Alert) error { return errors.New("down") })
		open.State = isResolved
		d.put(open)
		time.Sleep(10 * time.Second)
		d.shut()
		d.open()
		am.answers(nil)
		d.run()
		time.Sleep(time.Minute)
		expect(t, am, "-aa")
		d.shut()
	})
}

func TestChangedWhileItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am"}
		d := openDesk(t, am)
		d.run()
		defer d.shut()
		f := finding("aa", isOpen)
		am.answers(func(context.Context, []*notify.Alert) error {
			if f.GetState() == isOpen {
				f.State = isResolved
				d.put(f)
			}
			return nil
		})
		d.put(f)
		synctest.Wait()
		expect(t, am, "aa", "-aa")
		time.Sleep(time.Hour)
		expect(t, am)
	})
}

func TestStopWhileItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am", answer: func(ctx context.Context, _ []*notify.Alert) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		d := openDesk(t, am)
		d.run()
		d.put(finding("aa", isOpen))
		synctest.Wait()
		d.shut()
		d.open()
		am.answers(nil)
		d.run()
		defer d.shut()
		synctest.Wait()
		expect(t, am, "aa") // at once: the stop was no failure
	})
}

func TestReceiverSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am", answer: func(context.Context, []*notify.Alert) error {
			return &notify.Delayed{Err: errors.New("busy"), After: 5 * time.Minute}
		}}
		d := openDesk(t, am)
		d.run()
		defer d.shut()
		d.put(finding("aa", isOpen))
		synctest.Wait()
		am.answers(nil)
		time.Sleep(5*time.Minute - time.Millisecond)
		expect(t, am)
		time.Sleep(2 * time.Millisecond)
		expect(t, am, "aa")
	})
}

func TestOneThatHangsHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := &listener{name: "deaf", answer: func(ctx context.Context, _ []*notify.Alert) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		am := &listener{name: "am"}
		d := openDesk(t, deaf, am)
		d.run()
		defer d.shut()
		d.put(finding("aa", isOpen))
		synctest.Wait()
		expect(t, am, "aa")
		time.Sleep(time.Minute)
		if n := d.metric("alerts_total", "deaf", "failed"); n == 0 {
			t.Error("a receiver may take as long as it likes")
		}
	})
}

// Nobody says that something came in: it is found all the same.
func TestWithoutWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am"}
		d := openDesk(t, am)
		d.run(func(o *notify.Options) { o.Wake = nil })
		defer d.shut()
		d.put(finding("aa", isOpen))
		time.Sleep(16 * time.Second)
		expect(t, am, "aa")
	})
}

// brokenOutbox fails while broken is set.
type brokenOutbox struct {
	store.Outbox
	mu     sync.Mutex
	broken bool
}

func (o *brokenOutbox) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken {
		return errors.New("disk full")
	}
	return nil
}

func (o *brokenOutbox) Enrol(ctx context.Context, receiver string, now time.Time) error {
	return errors.Join(o.err(), o.Outbox.Enrol(ctx, receiver, now))
}

func (o *brokenOutbox) Settle(ctx context.Context, receiver string, outcomes []store.Outcome) error {
	if err := o.err(); err != nil {
		return err
	}
	return o.Outbox.Settle(ctx, receiver, outcomes)
}

func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &listener{name: "am"}
		d := openDesk(t, am)
		box := &brokenOutbox{Outbox: d.store, broken: true}
		d.run(func(o *notify.Options) { o.Outbox = box })
		defer d.shut()
		d.put(finding("aa", isOpen))
		time.Sleep(10 * time.Second)
		expect(t, am)
		box.mu.Lock()
		box.broken = false
		box.mu.Unlock()
		time.Sleep(time.Minute)
		if len(am.take()) == 0 {
			t.Error("nothing was told after the store was well again")
		}
		if n := d.metric("store_errors_total", "am"); n == 0 {
			t.Error("failures of the store are not counted")
		}
	})
}

func TestOptions(t *testing.T) {
	one := &listener{name: "am"}
	for _, c := range []struct {
		name string
		o    notify.Options
		want string
	}{
		{"no outbox", notify.Options{}, "option Outbox is nil"},
		{"no name", notify.Options{Receivers: []notify.Receiver{&listener{}}}, "option Receivers: the one at 0 has no name"},
		{"same name", notify.Options{Receivers: []notify.Receiver{one, one}}, `two are called "am"`},
		{"backoff", notify.Options{MinBackoff: time.Hour}, "MaxBackoff (1m0s)"},
	} {
		if _, err := notify.New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	n, err := notify.New(notify.Options{Outbox: &brokenOutbox{}, Receivers: []notify.Receiver{one}})
	if err != nil || len(n.Names()) != 1 || n.Names()[0] != "am" {
		t.Errorf("names: %v (%v)", n, err)
	}
}
