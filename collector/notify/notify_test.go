// SPDX-License-Identifier: Apache-2.0

package notify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/notify"
	"github.com/spoor/spoor/collector/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	isOpen     = spoorv1.FindingState_FINDING_STATE_OPEN
	isResolved = spoorv1.FindingState_FINDING_STATE_RESOLVED
)

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
