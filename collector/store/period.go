// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Period is when something happened: From is included, To is not, and a zero time is no bound.
type Period struct {
	From, To time.Time
	// Clocks are runs that gave times by a clock that was off: From and To are compared with what it should have shown.
	Clocks []Clock
}

// Bounded says that not everything is in the period.
func (p *Period) Bounded() bool { return !p.From.IsZero() || !p.To.IsZero() }

// Clock says how far the clock of a run was ahead, less than nothing if it was behind. A run has at most one.
type Clock struct {
	Run
	Ahead time.Duration
}

// Interval is from Low, included, to High, not included, in nanoseconds of Unix time.
type Interval struct{ Low, High int64 }

// Told are the times that nodes may have given what happened in the period: by a clock that was right, and by each of Clocks. They are in order and
// do not touch.
func (p *Period) Told() []Interval {
	low, high := Between(p.From, p.To)
	all := []Interval{{low, high}}
	for _, c := range p.Clocks {
		all = append(all, Interval{shift(low, c.Ahead), shift(high, c.Ahead)})
	}
	slices.SortFunc(all, func(a, b Interval) int { return cmp.Compare(a.Low, b.Low) })
	told := all[:1]
	for _, i := range all[1:] {
		if last := &told[len(told)-1]; i.Low <= last.High {
			last.High = max(last.High, i.High)
		} else {
			told = append(told, i)
		}
	}
	return told
}

// shift moves a bound as far as 64 bits go, since an agent may show any time; none stays none.
func shift(bound int64, by time.Duration) int64 {
	switch by := int64(by); {
	case bound == math.MinInt64, bound == math.MaxInt64:
		return bound
	case by > 0 && bound > math.MaxInt64-by:
		return math.MaxInt64
	case by < 0 && bound < math.MinInt64-by:
		return math.MinInt64
	default:
		return bound + by
	}
}
