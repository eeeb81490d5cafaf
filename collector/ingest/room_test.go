// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func node(name string) nodeKey { return nodeKey{"c", name} }

// asks takes bytes in a goroutine, and says so.
func asks(ctx context.Context, r *room, key nodeKey, n int64) <-chan error {
	got := make(chan error, 1)
	go func() { got <- r.take(ctx, key, n, func(string) func() { return func() {} }) }()
	synctest.Wait()
	return got
}

func expect(t *testing.T, what string, got <-chan error, want bool) {
	t.Helper()
	synctest.Wait()
	if has := len(got) > 0; has != want {
		t.Fatalf("%s has its memory: %v, want %v", what, has, want)
	}
}

// TestRoomIsForWhoHasLeast: a node without anything goes before those that came earlier and have much.
func TestRoomIsForWhoHasLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r := newRoom(60, 100)
		expect(t, "a", asks(ctx, r, node("a"), 50), true)
		expect(t, "b", asks(ctx, r, node("b"), 40), true)
		second := asks(ctx, r, node("b"), 20)
		expect(t, "b's second", second, false)
		own := asks(ctx, r, node("a"), 20) // would be more than 60
		expect(t, "a's second", own, false)
		quiet := asks(ctx, r, node("quiet"), 10)
		expect(t, "quiet", quiet, true)
		large := asks(ctx, r, node("large"), 60)
		small := asks(ctx, r, node("small"), 5)
		expect(t, "large", large, false)
		expect(t, "small, which came after large and has as little", small, false)
		r.give(node("a"), 50)
		expect(t, "a's second, which came before", own, true)
		expect(t, "large, for which there is not enough yet", large, false)
		expect(t, "b's second, who has 40", second, false)
		r.give(node("quiet"), 10)
		r.give(node("b"), 40)
		expect(t, "b's second, which came before", second, true)
		expect(t, "large", large, true)
		expect(t, "small, with 100 of 100 in use", small, false)
		r.give(node("large"), 60)
		expect(t, "small", small, true)
		for _, g := range []struct {
			name string
			n    int64
		}{{"small", 5}, {"a", 20}, {"b", 20}} {
			r.give(node(g.name), g.n)
		}
		if r.used != 0 || len(r.held) != 0 || len(r.waiting) != 0 {
			t.Errorf("left: %d bytes, of %v, %d waiting", r.used, r.held, len(r.waiting))
		}
	})
}

// TestRoomOfWhoGivesUp goes to those behind.
func TestRoomOfWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(100, 100)
		expect(t, "a", asks(t.Context(), r, node("a"), 30), true)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		large, small := asks(ctx, r, node("large"), 80), asks(t.Context(), r, node("small"), 30)
		expect(t, "small", small, false)
		cancel(gone)
		expect(t, "small", small, true)
		if err := <-large; !errors.Is(err, gone) {
			t.Errorf("large ended with %v", err)
		}
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connected := map[nodeKey]bool{}
		p := newPaces(2000, 4000, func(k nodeKey) bool { return connected[k] })
		slowed := 0
		wait := func(string) func() { slowed++; return func() {} }
		spend := func(records int, want time.Duration) {
			t.Helper()
			begun := time.Now()
			if err := p.of(node("n")).spend(t.Context(), records, wait); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took.Round(time.Millisecond) != want {
				t.Errorf("%d records took %v, want %v", records, took, want)
			}
		}
		spend(4000, 0)
		spend(1000, 500*time.Millisecond)
		spend(10_000, 5*time.Second) // more than a burst
		if slowed != 2 {
			t.Errorf("slowed %d times, want 2", slowed)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.of(node("n")).spend(ctx, 4000, wait); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that is cut short ends with %v", err)
		}
		spend(2000, 2*time.Second) // one more second for what was spent before
		now := time.Now()
		if n := p.of(node("n")); !n.say(now) || n.say(now.Add(saidEvery/2)) || !n.say(now.Add(saidEvery)) {
			t.Error("it is not said once a minute")
		}

		// Nodes that are gone and have had their pause are forgotten, others are not.
		connected[node("here")] = true
		here := p.of(node("here"))
		for i := range spareRates {
			p.of(nodeKey{"gone", time.Duration(i).String()})
		}
		busy := p.of(node("n"))
		if n := len(p.byNode); n > 5 {
			t.Errorf("%d rates are kept", n)
		}
		if p.of(node("here")) != here || p.of(node("n")) != busy || busy.limiter.Tokens() > 0 {
			t.Error("a rate was forgotten that matters")
		}
	})
}
