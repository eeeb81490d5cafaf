// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
)

func TestTold(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	ahead := func(all ...time.Duration) (clocks []store.Clock) {
		for _, by := range all {
			clocks = append(clocks, store.Clock{Ahead: by})
		}
		return clocks
	}
	const low, high, second = math.MinInt64, math.MaxInt64, 1e9
	for name, test := range map[string]struct {
		p    store.Period
		want []store.Interval
	}{
		"all":                 {store.Period{Clocks: ahead(time.Hour, -time.Hour)}, []store.Interval{{low, high}}},
		"by right clocks":     {store.Period{From: at(10), To: at(20)}, []store.Interval{{10 * second, 20 * second}}},
		"apart":               {store.Period{From: at(10), To: at(20), Clocks: ahead(30*time.Second, -30*time.Second)}, []store.Interval{{-20 * second, -10 * second}, {10 * second, 20 * second}, {40 * second, 50 * second}}},
		"overlapping":         {store.Period{From: at(10), To: at(20), Clocks: ahead(5*time.Second, 10*time.Second, time.Second)}, []store.Interval{{10 * second, 30 * second}}},
		"without an end":      {store.Period{From: at(10), Clocks: ahead(30*time.Second, -3*time.Second)}, []store.Interval{{7 * second, high}}},
		"without a beginning": {store.Period{To: at(20), Clocks: ahead(-5*time.Second, 2*time.Second)}, []store.Interval{{low, 22 * second}}},
		"beyond all time": {
			store.Period{From: time.Unix(0, high-5), To: time.Unix(0, high-3), Clocks: ahead(high, low)},
			[]store.Interval{{-6, -4}, {high - 5, high - 3}, {high, high}},
		},
	} {
		if got := test.p.Told(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
