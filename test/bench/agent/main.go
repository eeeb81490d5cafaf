// SPDX-License-Identifier: Apache-2.0

// Command agent measures what an agent takes for itself: of a processor and of memory, at rest and while facts change. It needs root.
//
// The agent is bin/spoor-agent, with its defaults and a spool, and ships to a collector, each in a process of its own. What an agent
// costs others is for overhead to say.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"github.com/spoor/spoor/test/bench/load"
	"github.com/spoor/spoor/test/bench/running"
)

var options struct {
	Agent     string        `help:"The agent." default:"bin/spoor-agent" type:"existingfile"`
	Collector string        `help:"The collector." default:"bin/spoor" type:"existingfile"`
	Dir       string        `help:"Where files are made." default:"/var/tmp" type:"existingdir"`
	Settle    time.Duration `help:"How long the agent runs before it counts." default:"15s"`
	Length    time.Duration `help:"How long each state counts." default:"30s"`
}

// state is what others do meanwhile.
type state struct {
	name string
	kind load.Kind // "" for nothing
	rate int       // operations a second
	// facts is how many facts an operation changes.
	facts int
}

func main() {
	asked, err := load.Asked()
	if !asked {
		kong.Parse(&options, kong.Description("Measure what an agent takes."))
		err = measure()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure() (err error) {
	dir, err := os.MkdirTemp(options.Dir, "spoor-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	collector, url, err := running.Collector(options.Collector, filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, collector.Stop()) }()
	agent, _, err := running.Start(func(l running.Line) bool { return l.Msg == "sensor attached" },
		options.Agent, "--collector", url, "--spool", filepath.Join(dir, "spool"), "--pin", "off", "--log-format", "json")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Stop()) }()
	time.Sleep(options.Settle)
	fmt.Fprintln(os.Stdout, "| what others do | facts a second | of a processor | time a fact | resident memory |\n|---|---|---|---|---|")
	for _, s := range []state{
		{"nothing of ours", "", 0, 0},
		{"2,500 files, each written twice a second", load.Rewrites, 5000, 1},
		{"files made and written", load.Creations, 2500, 1},
		{"connections, both ends told", load.Connections, 2500, 2},
		{"programs executed: fork, exec, exit", load.Execs, 300, 3},
	} {
		if err := one(agent, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// one measures a state, with what the agent has left to do when it is over.
func one(agent *running.Process, s state) error {
	const after = 2 * time.Second
	before, err := agent.Used()
	if err != nil {
		return err
	}
	began := time.Now()
	var p load.Product
	if s.kind == "" {
		time.Sleep(options.Length)
	} else if p, err = load.Make(s.kind, options.Dir, s.rate, options.Length); err != nil {
		return err
	}
	time.Sleep(after)
	used, err := agent.Used()
	if err != nil {
		return err
	}
	now, _, err := agent.Resident()
	if err != nil {
		return err
	}
	took := time.Since(began) - after
	facts := float64(p.Operations * s.facts)
	share, each := (used-before).Seconds()/took.Seconds(), "" // the seconds after it count as its own
	if facts > 0 {
		each = fmt.Sprintf("%.1f µs", float64((used-before).Microseconds())/facts)
	}
	_, err = fmt.Fprintf(os.Stdout, "| %s | %.0f | %.2f %% | %s | %d MiB |\n", s.name, facts/took.Seconds(), 100*share, each, now)
	return err
}
