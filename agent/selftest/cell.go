// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"slices"
	"time"

	"github.com/spoor/spoor/agent/act"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// State is what became of an act.
type State string

// The states of a cell. The first four are as they should be.
const (
	// Seen: told whole, and by the right process.
	Seen State = "seen"
	// Sometimes: whether it is seen depends on the clock, or on who is quicker, as Why says.
	Sometimes State = "sometimes"
	// Missed: not seen, or not whole, which is known; Why says what and why.
	Missed State = "missed"
	// Impossible: it cannot be done here, for the reason in Why.
	Impossible State = "impossible"
	// Untold: it should have been seen, and was not.
	Untold State = "untold"
	// Wrong: an event told what did not happen.
	Wrong State = "wrong"
	// Surprise: seen, although it stands in the list of what cannot be.
	Surprise State = "surprise"
	// Failed: the act itself went wrong.
	Failed State = "failed"
)

// OK says that it is as it should be.
func (s State) OK() bool {
	return s == Seen || s == Sometimes || s == Missed || s == Impossible
}

// Cell is what became of one act on one file system.
type Cell struct {
	Act   string
	Group act.Group
	// FileSystem is empty for an act to which it makes no difference.
	FileSystem string `json:",omitempty"`
	State      State
	Why        string `json:",omitempty"`
}

// Sensor is how well one sensor can see here.
type Sensor struct {
	Name, Tier string
	Reason     string `json:",omitempty"`
}

// Report is all that a node was found to see: a column, or a few, of docs/coverage.md.
type Report struct {
	// KernelRelease is as uname has it.
	KernelRelease string
	// Tier that was asked for.
	Tier string
	// Took is how long it was.
	Took    time.Duration `json:"-"`
	Sensors []Sensor
	Cells   []Cell
	// Losses are what the agent lost meanwhile. Every one is a fault: the load is small.
	Losses []string `json:",omitempty"`
}

// OK says that everything is as this tier promises.
func (r *Report) OK() bool {
	for _, c := range r.Cells {
		if !c.State.OK() {
			return false
		}
	}
	return len(r.Losses) == 0
}

// Short returns what falls short of what this tier promises: acts that were not told, told wrongly, or failed. One that is seen
// against all expectation does not.
func (r *Report) Short() []Cell {
	return slices.DeleteFunc(slices.Clone(r.Cells), func(c Cell) bool { return c.State.OK() || c.State == Surprise })
}

// untold names the acts that were not told somewhere.
func (r *Report) untold() []string {
	var names []string
	for _, c := range r.Cells {
		if c.State == Untold && !slices.Contains(names, c.Act) {
			names = append(names, c.Act)
		}
	}
	return names
}

// merge takes over from a second attempt what was told there and had not been before.
func (r *Report) merge(second *Report) {
	for i := range r.Cells {
		c := &r.Cells[i]
		j := slices.IndexFunc(second.Cells, func(o Cell) bool { return o.Act == c.Act && o.FileSystem == c.FileSystem })
		if c.State != Untold || j < 0 || second.Cells[j].State != Seen {
			continue
		}
		c.State, c.Why = Sometimes, "told at the second attempt; at the first one: "+c.Why
	}
	r.Losses = append(r.Losses, second.Losses...)
	r.Took += second.Took
}

func sensors(coverage []*spoorv1.Coverage) []Sensor {
	list := make([]Sensor, 0, len(coverage))
	for _, c := range coverage {
		list = append(list, Sensor{Name: c.GetSensor(), Tier: c.GetTier(), Reason: c.GetReason()})
	}
	return list
}
