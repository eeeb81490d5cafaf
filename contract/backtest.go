// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"maps"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Backtest runs two versions of contracts over the same events, to say what the new one would have found and what
// today's finds that the new one would not. It is not safe for concurrent use.
type Backtest struct {
	sides    [2]side
	events   uint64
	from, to time.Time
	ticked   time.Time
}

// side is one version.
type side struct {
	judge *Judge
	// What is open, and the first verdict of everything that was ever found.
	open  map[string]bool
	found map[string]Verdict
	days  map[ruleDay]int
	// Findings beyond what is remembered: counted by day, and not told apart.
	untold int
}

type ruleDay struct{ day, rule string }

// maxFound bounds how many different findings of a version are told apart.
const maxFound = 100_000

// NewBacktest compares the contracts that apply with proposed ones; either may be nil.
func NewBacktest(current, proposed *Set) *Backtest {
	b := &Backtest{}
	for i, set := range []*Set{current, proposed} {
		b.sides[i] = side{judge: NewJudge(set), open: map[string]bool{}, found: map[string]Verdict{}, days: map[ruleDay]int{}}
	}
	return b
}

// Observe takes the next event, in the order in which they were stored. The events' own time is the clock.
func (b *Backtest) Observe(ev *spoorv1.Event) {
	b.events++
	if t := timeOr(ev.GetTime(), b.to); !t.IsZero() {
		if b.from.IsZero() {
			b.from = t
		}
		b.from, b.to = earlier(b.from, t), later(b.to, t)
		if t.Sub(b.ticked) >= time.Second {
			b.ticked = t
			for i := range b.sides {
				b.sides[i].take(b.sides[i].judge.Tick(t))
			}
		}
	}
	for i := range b.sides {
		b.sides[i].take(b.sides[i].judge.Observe(ev))
	}
}

func (s *side) take(verdicts []Verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		fingerprint := v.Fingerprint()
		switch {
		case v.Cleared:
			delete(s.open, fingerprint)
			continue
		case s.open[fingerprint]:
			continue
		}
		s.days[ruleDay{v.Time.UTC().Format(time.DateOnly), v.Rule}]++
		if _, known := s.found[fingerprint]; !known && len(s.found) >= maxFound {
			s.untold++
			continue
		} else if !known {
			s.found[fingerprint] = *v
		}
		s.open[fingerprint] = true
	}
}

// BacktestResult says what two versions of contracts find in the same events.
type BacktestResult struct {
	Events   uint64    `json:"events"`
	From, To time.Time `json:"-"`
	// Findings that opened, by day (UTC) and rule.
	Days []BacktestDay `json:"days"`
	// How many different things only one version finds, and how many both.
	Both int `json:"both"`
	// The first verdict of each, in the order in which they were found: what would no longer be caught, and what would be new.
	OnlyCurrent  []Verdict `json:"-"`
	OnlyProposed []Verdict `json:"-"`
	// Findings that were too many to be compared one by one, of either version.
	Untold int `json:"untold,omitzero"`
}

// BacktestDay counts the findings of one rule that opened on one day.
type BacktestDay struct {
	Day      string `json:"day"`
	Rule     string `json:"rule"`
	Current  int    `json:"current"`
	Proposed int    `json:"proposed"`
}

// Result lets the last flows and files come due and says what was found.
func (b *Backtest) Result() *BacktestResult {
	r := &BacktestResult{Events: b.events, From: b.from, To: b.to}
	days := map[ruleDay]*BacktestDay{}
	for i := range b.sides {
		s := &b.sides[i]
		s.take(s.judge.Tick(b.to.Add(max(s.judge.limits.Grace, s.judge.limits.Settle))))
		r.Untold += s.untold
		for key, n := range s.days {
			if days[key] == nil {
				days[key] = &BacktestDay{Day: key.day, Rule: key.rule}
			}
			if i == 0 {
				days[key].Current = n
			} else {
				days[key].Proposed = n
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(days), func(a, b ruleDay) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.rule, b.rule))
	}) {
		r.Days = append(r.Days, *days[key])
	}
	current, proposed := b.sides[0].found, b.sides[1].found
	r.OnlyCurrent, r.OnlyProposed = missingFrom(current, proposed), missingFrom(proposed, current)
	r.Both = len(current) - len(r.OnlyCurrent)
	return r
}

func missingFrom(a, b map[string]Verdict) []Verdict {
	var only []Verdict
	for fingerprint, v := range a {
		if _, ok := b[fingerprint]; !ok {
			only = append(only, v)
		}
	}
	slices.SortFunc(only, func(x, y Verdict) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.Subject, y.Subject))
	})
	return only
}
