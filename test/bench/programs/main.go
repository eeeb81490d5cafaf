// SPDX-License-Identifier: Apache-2.0

// Command programs measures what each program of an agent's kernel side takes when it runs, by the kernel's own count
// (BPF_ENABLE_STATS, since 5.8), during loads of one kind each. It needs root. In a virtual machine whose clock moves with its instructions these are
// instructions.
package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/test/bench/load"
	"github.com/spoor/spoor/test/bench/running"
)

var options struct {
	Agent  string        `help:"The agent." default:"bin/spoor-agent" type:"existingfile"`
	Dir    string        `help:"Where files are made." default:"/var/tmp" type:"existingdir"`
	Rate   int           `help:"Operations a second." default:"50"`
	Length time.Duration `help:"How long each load takes." default:"5s"`
}

// runs is how often a program ran, and for how long in all.
type runs struct {
	name  string
	count uint64
	took  time.Duration
}

func main() {
	asked, err := load.Asked()
	if !asked {
		kong.Parse(&options, kong.Description("Measure what each program of the kernel side takes."))
		err = measure()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure() (err error) {
	agent, _, err := running.Start(func(l running.Line) bool { return l.Msg == "no collector yet; events wait" },
		options.Agent, "--collector", "http://127.0.0.1:1", "--pin", "off", "--log-format", "json")
	if err != nil {
		return err
	}
	defer agent.Stop() //nolint:errcheck // what nobody fetched is an error of the agent's
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return fmt.Errorf("have the kernel count: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	fmt.Fprintln(os.Stdout, "| load | program | runs for an operation | time of a run, ns |\n|---|---|---|---|")
	for _, kind := range []load.Kind{load.Execs, load.Connections, load.Creations} {
		before, err := programs()
		if err != nil {
			return err
		}
		p, err := load.Make(kind, options.Dir, options.Rate, options.Length)
		if err != nil {
			return err
		}
		after, err := programs()
		if err != nil {
			return err
		}
		for id, now := range after {
			was := before[id]
			n := now.count - was.count
			if n < uint64(p.Operations)/2 { //nolint:gosec // not negative
				delete(after, id) // not by these operations
				continue
			}
			after[id] = runs{now.name, n, now.took - was.took}
		}
		for _, r := range slices.SortedFunc(maps.Values(after), func(a, b runs) int { return strings.Compare(a.name, b.name) }) {
			fmt.Fprintf(os.Stdout, "| %s | %s | %.1f | %.0f |\n", kind, r.name, float64(r.count)/float64(p.Operations), float64(r.took.Nanoseconds())/float64(r.count))
		}
	}
	return nil
}

// programs returns what the kernel has counted.
func programs() (map[ebpf.ProgramID]runs, error) {
	all := map[ebpf.ProgramID]runs{}
	for id := ebpf.ProgramID(0); ; {
		var err error
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, os.ErrNotExist) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) { // unloaded meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		info, badInfo := p.Info()
		counted, bad := p.Stats()
		if err := errors.Join(badInfo, bad, p.Close()); err != nil {
			return nil, err
		}
		all[id] = runs{info.Name, counted.RunCount, counted.Runtime}
	}
}
