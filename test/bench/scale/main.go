// SPDX-License-Identifier: Apache-2.0

// Command scale says what fleets of some sizes cost collectors with SQLite, by what was measured of one (docs/numbers.md), and
// what of it breaks first. It is arithmetic, and shows its numbers: another machine has others.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// options are what was measured, and what a fleet is taken to be.
var options struct {
	Nodes []int `arg:"" optional:"" help:"Sizes of fleets; 10, 1,000 and 50,000."`

	Rate    float64 `help:"Events a second of a node." default:"4"`
	Flushes float64 `help:"Batches a second of a node that has events." default:"1"`
	Days    float64 `help:"Days that events are kept." default:"7"`
	Cores   float64 `help:"Processors of a collector." default:"2"`
	Disk    float64 `help:"Disk of a collector, GiB." default:"1000"`
	Memory  float64 `help:"Memory of a collector, GiB." default:"8"`
	Most    float64 `help:"Share of a bound that is planned with." default:"0.6"`

	EventCPU  float64 `name:"event-cpu" help:"Processor time of an event in a large batch, µs." default:"22"`
	BatchCPU  float64 `name:"batch-cpu" help:"Processor time of a batch besides its events, µs." default:"180"`
	Writer    float64 `help:"Share of that in the one goroutine that commits." default:"0.55"`
	Bytes     float64 `help:"Bytes of an event in the store." default:"105"`
	WireBytes float64 `name:"wire-bytes" help:"Bytes of an event on the wire, with its share of the tables of its batch." default:"350"`
	BaseMiB   float64 `name:"base-mib" help:"Memory of a collector without agents, MiB, with caches." default:"250"`
	AgentMiB  float64 `name:"agent-mib" help:"Memory of a connected agent in its collector, MiB." default:"0.45"`
	RunMicros float64 `name:"run-micros" help:"Processor time for one node in an answer about all of them, µs." default:"8"`
}

// load is what some nodes cost one collector.
type load struct {
	events, batches float64 // a second
	cores, writer   float64 // of the collector, and of its one committing goroutine
	memory, disk    float64 // GiB
	wire            float64 // Mbit/s
	answer          float64 // ms of processor time before an answer about all nodes has looked at them
}

func loadOf(nodes float64) load {
	l := load{events: nodes * options.Rate}
	l.batches = min(l.events, nodes*options.Flushes)
	l.cores = (l.events*options.EventCPU + l.batches*options.BatchCPU) / 1e6
	l.writer = l.cores * options.Writer
	l.memory = (options.BaseMiB + nodes*options.AgentMiB) / 1024
	l.disk = l.events * options.Bytes * 86400 * options.Days / (1 << 30)
	l.wire = l.events * options.WireBytes * 8 / 1e6
	l.answer = nodes * options.RunMicros / 1000
	return l
}

// bound is one of a collector, and how much of it is used.
type bound struct {
	name string
	used float64
}

// bounds are in the order in which a node fills them, the fullest first.
func bounds(l load) []bound {
	all := []bound{
		{"the goroutine that commits", l.writer},
		{"processors", l.cores / options.Cores},
		{"memory", l.memory / options.Memory},
		{"disk", l.disk / options.Disk},
	}
	for i := range all {
		for j := i; j > 0 && all[j].used > all[j-1].used; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all
}

// capacity is how many nodes one collector takes before its first bound is as full as is planned with.
func capacity() (nodes int, first string) {
	low, high := 1, 10_000_000
	for low < high {
		middle := (low + high + 1) / 2
		if bounds(loadOf(float64(middle)))[0].used <= options.Most {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, bounds(loadOf(float64(low)))[0].name
}

func main() {
	kong.Parse(&options, kong.Description("Say what fleets cost collectors, and what breaks first."))
	if len(options.Nodes) == 0 {
		options.Nodes = []int{10, 1000, 50_000}
	}
	most, first := capacity()
	fmt.Fprintf(os.Stdout, "One collector takes %d nodes with %.0f %% of its first bound: %s.\n\n", most, 100*options.Most, first)
	fmt.Fprintln(os.Stdout, "| nodes | events/s | batches/s | processors | of that committing | memory | disk | wire | an answer about all looks at nodes for | collectors | fullest bound of one that has all |")
	fmt.Fprintln(os.Stdout, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, n := range options.Nodes {
		l := loadOf(float64(n))
		b := bounds(l)[0]
		fmt.Fprintf(os.Stdout, "| %d | %.0f | %.0f | %.2f | %.2f | %.1f GiB | %.0f GiB | %.1f Mbit/s | %.1f ms | %d | %s, %.0f %% |\n",
			n, l.events, l.batches, l.cores, l.writer, l.memory, l.disk, l.wire, l.answer, (n+most-1)/most, b.name, 100*b.used)
	}
}
