// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Backtest runs two versions of contracts over the same events, to say what the new one would have found and what
// today's finds that the new one would not. It is not safe for concurrent use.
type Backtest struct {
	sides    [2]side
	events   uint64
	from, to time.Time
}

// side is one version.
type side struct {
	judge *Judge
	// There is nothing to judge by.
	idle bool
	// The latest time of an event, and when the judge was last told what time it is.
	now, ticked time.Time
	// What is open, and the first verdict of everything that was ever found.
	open  map[string]bool
	found map[string]Verdict
	days  map[ruleDay]int
	// Findings that would have paged somebody, by the beginning of the shift.
	shifts map[time.Time]int
	// Findings beyond what is remembered: counted by day, and not told apart.
	untold int
}

type ruleDay struct{ day, rule string }

func (k ruleDay) compare(other ruleDay) int {
	return cmp.Or(cmp.Compare(k.day, other.day), cmp.Compare(k.rule, other.rule))
}

// shift is how long somebody is on call at a time.
const shift = 8 * time.Hour

// maxFound bounds how many different findings of a version are told apart.
const maxFound = 100_000

// NewBacktest compares the contracts that apply with proposed ones; either may be nil.
func NewBacktest(current, proposed *Set) *Backtest {
	b := &Backtest{}
	for i, set := range []*Set{current, proposed} {
		b.sides[i] = side{judge: NewJudge(set), idle: set.Len() == 0, open: map[string]bool{}, found: map[string]Verdict{}, days: map[ruleDay]int{}, shifts: map[time.Time]int{}}
	}
	return b
}

// Observe takes the next events, in the order in which they were stored. The events' own time is the clock. The two versions judge
// at the same time; both keep events, so these must not be changed any more.
func (b *Backtest) Observe(evs ...*spoorv1.Event) {
	b.events += uint64(len(evs))
	for _, ev := range evs {
		if t := timeOr(ev.GetTime(), b.to); !t.IsZero() {
			if b.from.IsZero() {
				b.from = t
			}
			b.from, b.to = earlier(b.from, t), later(b.to, t)
		}
	}
	b.each(func(s *side) { s.observe(evs, s.take) })
}

// each runs fn for both sides at the same time and waits for it.
func (b *Backtest) each(fn func(*side)) {
	var group sync.WaitGroup
	defer group.Wait()
	for i := range b.sides {
		if s := &b.sides[i]; !s.idle {
			group.Go(func() { fn(s) })
		}
	}
}

func (s *side) observe(evs []*spoorv1.Event, take func([]Verdict)) {
	for _, ev := range evs {
		if t := timeOr(ev.GetTime(), s.now); !t.IsZero() {
			s.now = later(s.now, t)
			if t.Sub(s.ticked) >= time.Second {
				s.ticked = t
				take(s.judge.Tick(t))
			}
		}
		take(s.judge.Observe(ev))
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
		if v.Severity > spoorv1.Severity_SEVERITY_LOW {
			s.shifts[v.Time.UTC().Truncate(shift)]++
		}
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
	// What would have paged somebody.
	Pages struct {
		Current  BacktestPages `json:"current"`
		Proposed BacktestPages `json:"proposed"`
	} `json:"pages"`
	// How many different things only one version finds, and how many both.
	Both int `json:"both"`
	// The first verdict of each, in the order in which they were found: what would no longer be caught, and what would be new.
	OnlyCurrent  []Verdict `json:"-"`
	OnlyProposed []Verdict `json:"-"`
	// Findings that were too many to be compared one by one, of either version.
	Untold int `json:"untold,omitzero"`
	// Events that were not judged, because which contract of a version applies depends on labels of their workloads that are not known.
	Unlabelled uint64 `json:"unlabelled,omitzero"`
}

// BacktestDay counts the findings of one rule that opened on one day.
type BacktestDay struct {
	Day      string `json:"day"`
	Rule     string `json:"rule"`
	Current  int    `json:"current"`
	Proposed int    `json:"proposed"`
}

// BacktestPages are findings of medium or higher severity that opened, in shifts of 8 hours (UTC).
type BacktestPages struct {
	Total int `json:"total"`
	// On average of all shifts, from the first event to the last.
	PerShift float64 `json:"per_shift"`
	// The most in one shift, and when the first of those began.
	Worst      int       `json:"worst"`
	WorstShift time.Time `json:"worst_shift,omitzero"`
}

func (s *side) pages(from, to time.Time) BacktestPages {
	var p BacktestPages
	for _, begin := range slices.SortedFunc(maps.Keys(s.shifts), time.Time.Compare) {
		n := s.shifts[begin]
		if p.Total += n; n > p.Worst {
			p.Worst, p.WorstShift = n, begin
		}
	}
	p.PerShift = float64(p.Total) / max(1, to.Sub(from).Hours()/shift.Hours())
	return p
}

// Result lets the last flows and files come due and says what was found.
func (b *Backtest) Result() *BacktestResult {
	r := &BacktestResult{Events: b.events, From: b.from, To: b.to}
	days := map[ruleDay]*BacktestDay{}
	for i := range b.sides {
		s := &b.sides[i]
		if !s.idle {
			s.take(s.judge.Tick(b.to.Add(max(s.judge.limits.Grace, s.judge.limits.Settle))))
		}
		r.Untold += s.untold
		r.Unlabelled = max(r.Unlabelled, s.judge.unjudged.Labels)
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
	for _, key := range slices.SortedFunc(maps.Keys(days), ruleDay.compare) {
		r.Days = append(r.Days, *days[key])
	}
	r.Pages.Current, r.Pages.Proposed = b.sides[0].pages(b.from, b.to), b.sides[1].pages(b.from, b.to)
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
