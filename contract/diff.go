// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Effect says what a change means for what a workload may do.
type Effect string

const (
	// Wider allows what was a finding before.
	Wider Effect = "wider"
	// Narrower makes a finding of what was allowed.
	Narrower Effect = "narrower"
	// Neutral changes nothing that is judged.
	Neutral Effect = "neutral"
	// Other allows one thing and forbids another.
	Other Effect = "other"
)

// Change is one difference between two versions of a contract.
type Change struct {
	// Name of the contract, namespace/name.
	Contract string `json:"contract"`
	// Where it is, for example spec.calls; "" for a contract that is new or gone.
	Field string `json:"field,omitzero"`
	// The line before and after; "" where there was none.
	Old    string `json:"old,omitzero"`
	New    string `json:"new,omitzero"`
	Effect Effect `json:"effect"`
	// What the effect is, in a few words.
	Why string `json:"why"`
}

// String writes the change for people, like a line of a diff.
func (c Change) String() string {
	head := c.Contract
	if c.Field != "" {
		head += " " + c.Field
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", head, c.Why)
	if c.Old != "" {
		b.WriteString("\n  - " + c.Old)
	}
	if c.New != "" {
		b.WriteString("\n  + " + c.New)
	}
	return b.String()
}

// Diff compares two versions of a set of contracts by what they say: the order of entries, comments, how a value
// is written and where a file stands do not matter. Contracts are compared by name.
func Diff(before, after []*Contract) []Change {
	var changes []Change
	byName := func(contracts []*Contract) (map[string]*Contract, []string) {
		m, names := map[string]*Contract{}, []string(nil)
		for _, c := range contracts {
			m[c.FullName()] = c
			names = append(names, c.FullName())
		}
		slices.Sort(names)
		return m, slices.Compact(names)
	}
	was, oldNames := byName(before)
	is, newNames := byName(after)
	for _, name := range oldNames {
		if is[name] == nil {
			changes = append(changes, Change{Contract: name, Old: selectorText(was[name]), Effect: Wider, Why: "the contract is gone: its workload is judged by another, or not at all"})
		}
	}
	for _, name := range newNames {
		if old := was[name]; old == nil {
			changes = append(changes, Change{Contract: name, New: selectorText(is[name]), Effect: Narrower, Why: "the contract is new: its workload was judged by another, or not at all"})
		} else {
			changes = append(changes, compareContracts(old, is[name])...)
		}
	}
	return changes
}

func selectorText(c *Contract) string { return "workload: " + flow(reflect.ValueOf(c.Spec.Workload)) }

// comparison gathers the changes of one contract.
type comparison struct {
	name    string
	changes []Change
}

func (c *comparison) add(field, before, after string, effect Effect, why string) {
	c.changes = append(c.changes, Change{Contract: c.name, Field: field, Old: before, New: after, Effect: effect, Why: why})
}

func compareContracts(a, b *Contract) []Change {
	c := &comparison{name: a.FullName()}
	if a.identity() != b.identity() {
		c.add("spec.workload", selectorText(a), selectorText(b), Other, "the contract is about other workloads")
	}
	if a.Spec.Owner != b.Spec.Owner {
		text := func(o Owner) string {
			if o == (Owner{}) {
				return ""
			}
			return "owner: " + flow(reflect.ValueOf(o))
		}
		c.add("spec.owner", text(a.Spec.Owner), text(b.Spec.Owner), Neutral, "somebody else is asked or paged")
	}
	c.state(a, b)
	compareKeyed(c, "spec.scratch", a.Spec.Scratch, b.Spec.Scratch, func(s Scratch) any { return s.Path }, compareLimits)
	compareKeyed(c, "spec.volumes", a.Spec.Volumes, b.Spec.Volumes, func(v Volume) any { return v.Path }, compareClasses)
	compareFlows(c, "spec.listens", a.Spec.Listens, b.Spec.Listens, func(l Listen) Listen {
		l.Transport = l.Transport.orTCP()
		return l
	})
	compareFlows(c, "spec.callers", a.Spec.Callers, b.Spec.Callers, func(l Caller) Caller {
		l.Transport = l.Transport.orTCP()
		return l
	})
	// A purpose changes nothing about who may be called.
	purposes := map[Call]Purpose{}
	bare := func(l Call) Call {
		l.Transport, l.Purpose = l.Transport.orTCP(), ""
		return l
	}
	for _, call := range a.Spec.Calls {
		purposes[bare(call)] = call.Purpose
	}
	for _, call := range b.Spec.Calls {
		if p, known := purposes[bare(call)]; known && p != call.Purpose {
			old := call
			old.Purpose = p
			effect := Neutral
			switch SharedBackingService {
			case call.Purpose:
				effect = Wider // others may call the same store
			case p:
				effect = Narrower
			}
			c.add("spec.calls", Line(old), Line(call), effect, "the purpose is another")
		}
	}
	compareFlows(c, "spec.calls", a.Spec.Calls, b.Spec.Calls, bare)
	compareShares(c, a.Spec.Shares, b.Spec.Shares)
	return c.changes
}

func (c *comparison) state(a, b *Contract) {
	// What is left out is what the kind promises.
	state := func(k *Contract) State {
		if k.Spec.State != "" {
			return k.Spec.State
		}
		return DefaultState(string(k.Spec.Workload.Kind))
	}
	before, after := state(a), state(b)
	text := func(s State) string {
		if s == "" {
			return ""
		}
		return "state: " + string(s)
	}
	switch {
	case before == after:
	case after == Stateless:
		c.add("spec.state", text(before), text(after), Narrower, "files outside of scratch and volumes are findings")
	case before == Stateless:
		c.add("spec.state", text(before), text(after), Wider, "files may be kept anywhere")
	default:
		c.add("spec.state", text(before), text(after), Neutral, "nothing else is allowed or forbidden")
	}
}

// compareKeyed compares lists whose entries have a key of their own.
func compareKeyed[T interface {
	comparable
	Scratch | Volume
}](c *comparison, field string, before, after []T, key func(T) any, changed func(T, T) (Effect, string)) {
	find := func(list []T, entry T) (T, bool) {
		i := slices.IndexFunc(list, func(other T) bool { return key(other) == key(entry) })
		if i < 0 {
			var none T
			return none, false
		}
		return list[i], true
	}
	for _, entry := range before {
		now, ok := find(after, entry)
		switch {
		case !ok:
			c.add(field, Line(entry), "", Narrower, "files are no longer allowed there")
		case now != entry:
			effect, why := changed(entry, now)
			c.add(field, Line(entry), Line(now), effect, why)
		}
	}
	for _, entry := range after {
		if _, ok := find(before, entry); !ok {
			c.add(field, "", Line(entry), Wider, "files are allowed there")
		}
	}
}

// compareLimits says whether limits of scratch became wider. Without a limit anything goes; the default age counts
// as what it is for stateless workloads.
func compareLimits(a, b Scratch) (Effect, string) {
	age := func(s Scratch) Duration {
		if s.MaxAge == 0 {
			return DefaultMaxAge
		}
		return s.MaxAge
	}
	size := func(s Scratch) Bytes {
		if s.MaxBytes == 0 {
			return ^Bytes(0)
		}
		return s.MaxBytes
	}
	wider := age(b) > age(a) || size(b) > size(a)
	narrower := age(b) < age(a) || size(b) < size(a)
	switch {
	case wider && narrower:
		return Other, "one limit is wider, the other narrower"
	case wider:
		return Wider, "files may be older or larger"
	case narrower:
		return Narrower, "files may be less old or less large"
	default:
		return Neutral, "the same limit is written"
	}
}

// compareShares compares what may be shared. A list that is left out is an empty one.
func compareShares(c *comparison, before, after []Share) {
	for _, s := range before {
		if !slices.Contains(after, s) {
			c.add("spec.shares", Line(s), "", Narrower, "no longer allowed to be shared by a line of its own")
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			c.add("spec.shares", "", Line(s), Wider, "allowed to be shared by a new line")
		}
	}
}

// compareClasses says what it means that the files of a volume are called something else.
func compareClasses(a, b Volume) (Effect, string) {
	switch ClassBinary {
	case b.Class:
		return Wider, "what is written there may be executed"
	case a.Class:
		return Narrower, "what is written there may no longer be executed"
	}
	return Neutral, "the files are called something else"
}

// compareFlows compares lists whose entries each allow something. A list that is left out is not judged.
func compareFlows[T interface {
	comparable
	Listen | Caller | Call
}](c *comparison, field string, before, after []T, plain func(T) T) {
	name := strings.TrimPrefix(field, "spec.")
	if before == nil && after != nil {
		c.add(field, "", "", Narrower, name+" are judged from now on")
	}
	if before != nil && after == nil {
		c.add(field, "", "", Wider, name+" are no longer judged")
	}
	has := func(list []T, entry T) bool {
		return slices.ContainsFunc(list, func(other T) bool { return plain(other) == plain(entry) })
	}
	for _, entry := range before {
		if !has(after, entry) {
			effect := Narrower
			if after == nil {
				effect = Neutral // not judged at all
			}
			c.add(field, Line(entry), "", effect, "no longer allowed by a line of its own")
		}
	}
	for _, entry := range after {
		if !has(before, entry) {
			effect := Wider
			if before == nil {
				effect = Neutral
			}
			c.add(field, "", Line(entry), effect, "allowed by a new line")
		}
	}
}
