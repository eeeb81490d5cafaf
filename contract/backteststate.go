// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// BacktestMemory is how far back a Backtest has to look to go on where another one stopped: as long as a judge remembers anything
// that is not open.
const BacktestMemory = shareQuiet

// backtestState is what a Backtest has found so far. What its judges remember is not in it: they are shown the latest events again.
type backtestState struct {
	Events   uint64       `json:"events"`
	From     time.Time    `json:"from"`
	To       time.Time    `json:"to"`
	Current  backtestSide `json:"current"`
	Proposed backtestSide `json:"proposed"`
}

type backtestSide struct {
	Open   []string       `json:"open"`
	Found  []verdictState `json:"found"`
	Days   []dayState     `json:"days"`
	Shifts []shiftState   `json:"shifts"`
	Untold int            `json:"untold"`
}

type dayState struct {
	Day, Rule string
	N         int
}

type shiftState struct {
	Begin time.Time
	N     int
}

// verdictState is a Verdict; what is protobuf in it is in protobuf's own JSON.
type verdictState struct {
	Rule     string            `json:"rule"`
	Severity spoorv1.Severity  `json:"severity"`
	Workload json.RawMessage   `json:"workload,omitempty"`
	Owner    json.RawMessage   `json:"owner,omitempty"`
	Subject  string            `json:"subject"`
	Title    string            `json:"title"`
	Why      string            `json:"why"`
	Fix      string            `json:"fix"`
	Contract string            `json:"contract"`
	Time     time.Time         `json:"time"`
	Evidence []json.RawMessage `json:"evidence"`
}

// State is what was found so far, for Resume of another Backtest of the same contracts.
func (b *Backtest) State() ([]byte, error) {
	state := backtestState{Events: b.events, From: b.from, To: b.to}
	for i, into := range []*backtestSide{&state.Current, &state.Proposed} {
		s := &b.sides[i]
		into.Untold, into.Open = s.untold, slices.Sorted(maps.Keys(s.open))
		for _, key := range slices.SortedFunc(maps.Keys(s.days), ruleDay.compare) {
			into.Days = append(into.Days, dayState{key.day, key.rule, s.days[key]})
		}
		for _, begin := range slices.SortedFunc(maps.Keys(s.shifts), time.Time.Compare) {
			into.Shifts = append(into.Shifts, shiftState{begin, s.shifts[begin]})
		}
		for _, fingerprint := range slices.Sorted(maps.Keys(s.found)) {
			v := s.found[fingerprint]
			written, err := stateOf(&v)
			if err != nil {
				return nil, fmt.Errorf("write what was found: %w", err)
			}
			into.Found = append(into.Found, *written)
		}
	}
	return json.Marshal(&state)
}

func (k ruleDay) compare(other ruleDay) int {
	return cmp.Or(cmp.Compare(k.day, other.day), cmp.Compare(k.rule, other.rule))
}

func stateOf(v *Verdict) (*verdictState, error) {
	s := &verdictState{
		Rule: v.Rule, Severity: v.Severity, Subject: v.Subject, Title: v.Title, Why: v.Why, Fix: v.Fix, Contract: v.Contract, Time: v.Time,
	}
	var err error
	if v.Workload != nil {
		if s.Workload, err = protojson.Marshal(v.Workload); err != nil {
			return nil, err
		}
	}
	if v.Owner != nil {
		if s.Owner, err = protojson.Marshal(v.Owner); err != nil {
			return nil, err
		}
	}
	for _, ev := range v.Evidence {
		text, err := protojson.Marshal(ev)
		if err != nil {
			return nil, err
		}
		s.Evidence = append(s.Evidence, text)
	}
	return s, nil
}

func (s *verdictState) verdict() (Verdict, error) {
	v := Verdict{
		Rule: s.Rule, Severity: s.Severity, Subject: s.Subject, Title: s.Title, Why: s.Why, Fix: s.Fix, Contract: s.Contract, Time: s.Time,
	}
	if s.Workload != nil {
		v.Workload = &spoorv1.Workload{}
		if err := protojson.Unmarshal(s.Workload, v.Workload); err != nil {
			return v, err
		}
	}
	if s.Owner != nil {
		v.Owner = &spoorv1.Owner{}
		if err := protojson.Unmarshal(s.Owner, v.Owner); err != nil {
			return v, err
		}
	}
	for _, text := range s.Evidence {
		ev := &spoorv1.Event{}
		if err := protojson.Unmarshal(text, ev); err != nil {
			return v, err
		}
		v.Evidence = append(v.Evidence, ev)
	}
	return v, nil
}

// Resume takes over what another Backtest of the same contracts had found. The judges are shown what proves everything that is open; then
// Remind them of the events of the last BacktestMemory before those that are still to be observed.
func (b *Backtest) Resume(data []byte) error {
	var state backtestState
	if err := json.Unmarshal(data, &state); err != nil {
		return fmt.Errorf("go on with a back-test: %w", err)
	}
	b.events, b.from, b.to = state.Events, state.From, state.To
	for i, from := range []*backtestSide{&state.Current, &state.Proposed} {
		s := &b.sides[i]
		s.untold = from.Untold
		for _, fingerprint := range from.Open {
			s.open[fingerprint] = true
		}
		for _, d := range from.Days {
			s.days[ruleDay{d.Day, d.Rule}] = d.N
		}
		for _, begun := range from.Shifts {
			s.shifts[begun.Begin.UTC()] = begun.N
		}
		var evidence []*spoorv1.Event
		for k := range from.Found {
			v, err := from.Found[k].verdict()
			if err != nil {
				return fmt.Errorf("go on with a back-test: %w", err)
			}
			fingerprint := v.Fingerprint()
			s.found[fingerprint] = v
			if s.open[fingerprint] {
				evidence = append(evidence, v.Evidence...)
			}
		}
		slices.SortFunc(evidence, func(a, b *spoorv1.Event) int { return cmp.Compare(a.GetId(), b.GetId()) })
		evidence = slices.CompactFunc(evidence, func(a, b *spoorv1.Event) bool { return a.GetId() == b.GetId() })
		s.observe(evidence, func([]Verdict) {})
	}
	return nil
}

// Remind shows the judges events that were observed before Resume. What they find in them was found then.
func (b *Backtest) Remind(evs ...*spoorv1.Event) {
	b.each(func(s *side) { s.observe(evs, func([]Verdict) {}) })
}
