// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBacktest(t *testing.T) {
	proposed := strings.NewReplacer(
		"listens: [{port: 8443}]", "listens: [{port: 8443}, {port: 9000}]",
		"    - {dns: \"*.stripe.com\", port: 443}\n", "",
	).Replace(checkoutContract)
	b := NewBacktest(mustSet(t, checkoutContract), mustSet(t, proposed))
	s := newScene(t)
	play := func(facts ...any) {
		for _, fact := range facts {
			b.Observe(s.event(fact))
		}
	}
	for range 3 {
		play(listens("0.0.0.0", 9000), callNamed("api.stripe.com", "203.0.113.7", 443), write(inode("/app/x", 7, layer)))
		s.after(time.Minute)
		play(closed(listens("0.0.0.0", 9000)), unlink(inode("/app/x", 7, layer)))
		s.after(24 * time.Hour)
	}
	play(call("10.99.0.1", 22)) // known by nobody until the end
	r := b.Result()
	if r.Events != 16 || !r.From.Equal(dawn) || r.To.Before(dawn.Add(72*time.Hour)) || r.Both != 2 {
		t.Errorf("%+v", r)
	}
	want := []BacktestDay{
		{"2026-05-01", "flow.egress", 0, 1},
		{"2026-05-01", "flow.listener", 1, 0},
		{"2026-05-01", "state.local", 1, 1},
		{"2026-05-02", "flow.listener", 1, 0},
		{"2026-05-02", "state.local", 1, 1},
		{"2026-05-03", "flow.listener", 1, 0},
		{"2026-05-03", "state.local", 1, 1},
		{"2026-05-04", "flow.egress", 1, 1},
	}
	if diff := cmp.Diff(want, r.Days); diff != "" {
		t.Error(diff)
	}
	tales := func(verdicts []Verdict) (out []string) {
		for i := range verdicts {
			out = append(out, tale(&verdicts[i]))
		}
		return out
	}
	if diff := cmp.Diff([]string{"medium flow.listener *:9000/tcp"}, tales(r.OnlyCurrent)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"high flow.egress api.stripe.com:443/tcp"}, tales(r.OnlyProposed)); diff != "" {
		t.Error(diff)
	}
}

func TestBacktestOfNothing(t *testing.T) {
	r := NewBacktest(nil, nil).Result()
	if r.Events != 0 || r.Days != nil || r.OnlyCurrent != nil || r.OnlyProposed != nil {
		t.Errorf("%+v", r)
	}
}
