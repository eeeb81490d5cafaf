// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Budget is how many times an hour receivers are told of one rule in one workload. What is beyond waits, in the order in which it was
// found, and is told when there is room again, if it is still open then.
type Budget struct {
	// First is for findings that were never seen before: 20. Again is for those that come back: 6. Neither takes from the other, so what is
	// new is told although something old flaps.
	First, Again int
}

const (
	budgetWindow = time.Hour
	// maxBudgets bounds the pairs of workload and rule that are counted; one that is forgotten begins with a full budget.
	maxBudgets = 16384
	// maxHeld bounds the findings that wait. What is beyond is never told, but listed, and counted.
	maxHeld = 16384
)

func (b Budget) withDefaults() Budget {
	if b.First == 0 {
		b.First = 20
	}
	if b.Again == 0 {
		b.Again = 6
	}
	return b
}

type budgetKey struct{ cluster, namespace, kind, name, rule string }

// bucket is what is left of a budget: it fills up evenly within a window.
type bucket struct {
	left float64
	at   time.Time
}

func (b *bucket) take(size int, now time.Time) bool {
	if now.After(b.at) {
		b.left = min(float64(size), b.left+float64(size)*now.Sub(b.at).Seconds()/budgetWindow.Seconds())
		b.at = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// purse is the budget of one rule in one workload, in its two lanes.
type purse struct{ first, again bucket }

// waiting is a finding that receivers are to be told of when there is room.
type waiting struct {
	key   budgetKey
	first bool
}

// till decides who is told of what, when.
type till struct {
	o       Budget
	purses  *simplelru.LRU[budgetKey, *purse]
	held    map[string]waiting // by fingerprint
	order   []string           // of held; some may have gone
	dropped atomic.Uint64      // read by whoever asks for metrics
}

func newTill(o Budget) (*till, error) {
	purses, err := simplelru.NewLRU[budgetKey, *purse](maxBudgets, nil)
	return &till{o: o.withDefaults(), purses: purses, held: map[string]waiting{}}, err
}

func waitingOf(f *spoorv1.Finding, first bool) waiting {
	w := f.GetWorkload()
	return waiting{budgetKey{w.GetCluster(), w.GetNamespace(), w.GetKind(), w.GetName(), f.GetRule()}, first}
}

// spend says whether there is room to tell of a finding now.
func (t *till) spend(f waiting, now time.Time) bool {
	p, ok := t.purses.Get(f.key)
	if !ok {
		p = &purse{bucket{float64(t.o.First), now}, bucket{float64(t.o.Again), now}}
		t.purses.Add(f.key, p)
	}
	if f.first {
		return p.first.take(t.o.First, now)
	}
	return p.again.take(t.o.Again, now)
}

// hold lets a finding wait.
func (t *till) hold(fingerprint string, f waiting) {
	if _, ok := t.held[fingerprint]; ok {
		return
	}
	if len(t.held) >= maxHeld {
		t.dropped.Add(1)
		return
	}
	t.held[fingerprint] = f
	t.order = append(t.order, fingerprint)
}

// forget ends the waiting of a finding, and says whether it waited.
func (t *till) forget(fingerprint string) bool {
	_, ok := t.held[fingerprint]
	delete(t.held, fingerprint)
	return ok
}

// open says whether receivers are to be told of a finding that opened. One that is only for information is not for them.
func (e *Engine) open(f *spoorv1.Finding, first bool, now time.Time) bool {
	w := waitingOf(f, first)
	switch {
	case f.GetSeverity() <= spoorv1.Severity_SEVERITY_INFO:
		return false
	case e.till.spend(w, now):
		return true
	}
	e.till.hold(f.GetFingerprint(), w)
	e.metrics.held.WithLabelValues(lane(first)).Inc()
	return false
}

func lane(first bool) string {
	if first {
		return "first"
	}
	return "again"
}

// release tells of findings that waited, as far as their budgets have room now.
func (e *Engine) release(ctx context.Context, now time.Time) error {
	var still []string
	for i, fingerprint := range e.till.order {
		w, ok := e.till.held[fingerprint]
		if !ok {
			continue
		}
		if !e.till.spend(w, now) {
			still = append(still, fingerprint)
			continue
		}
		f, err := e.find(ctx, fingerprint)
		if err != nil {
			e.till.order = append(still, e.till.order[i:]...)
			return err
		}
		e.till.forget(fingerprint)
		if isOpen(f) {
			e.change(f, true)
		}
	}
	e.till.order = still
	return nil
}

// resume lets findings wait that opened lately: whether receivers were told of them, an engine that starts does not know, and hearing
// of an open finding twice harms none.
func (e *Engine) resume(open []*spoorv1.Finding, now time.Time) {
	for _, f := range open {
		if f.GetState() == spoorv1.FindingState_FINDING_STATE_OPEN && f.GetSeverity() > spoorv1.Severity_SEVERITY_INFO &&
			now.Sub(f.GetStateChanged().AsTime()) < budgetWindow {
			e.till.hold(f.GetFingerprint(), waitingOf(f, true))
		}
	}
}
