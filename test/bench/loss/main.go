// SPDX-License-Identifier: Apache-2.0

// Command loss loads this machine as hard as the design says an agent must stand, and counts: what was produced must be what
// was reported plus what was counted as lost. It needs root.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/bench/load"
)

var options struct {
	Seconds     int    `help:"Length of each load." default:"5"`
	Dir         string `help:"Where files are made." default:"/var/tmp" type:"existingdir"`
	Writes      int    `help:"Overwrites a second, all processes together." default:"1000000"`
	Creations   int    `help:"Files made and written a second." default:"20000"`
	Connections int    `help:"TCP connections a second." default:"10000"`
	Execs       int    `help:"Programs executed a second." default:"2000"`
	Stop        int    `help:"Stop the agent (SIGSTOP) for this many seconds of each load." default:"0"`
}

// counted is one kind of load and how its events are counted.
type counted struct {
	kind load.Kind
	rate int
	// count returns how many of the facts an event by the generator tells.
	count func(ev *spoorv1.Event) int
	// lost names the losses of the agent that make up for facts that were not told: source/reason.
	lost []string
}

func main() {
	if asked, err := load.Asked(); asked {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	kctx := kong.Parse(&options, kong.Description("Count what an agent reports under load."))
	loads := []counted{
		{load.Overwrites, options.Writes, countFiles(), []string{"file/map_full"}},
		{load.Creations, options.Creations, countFiles(), []string{"file/map_full"}},
		{load.Connections, options.Connections, countOpened, []string{"socket/map_full", "socket/connections_full", "socket/unknown_owner", "socket/preempted"}},
		{load.Execs, options.Execs, countExecs, []string{"process/ring_full"}},
	}
	failed := false
	fmt.Fprintf(os.Stdout, "%-12s %12s %12s %12s %12s %12s\n", "load", "a second", "produced", "reported", "lost", "unaccounted")
	for i := range loads {
		l := &loads[i]
		r, err := measure(l)
		kctx.FatalIfErrorf(err)
		fmt.Fprintf(os.Stdout, "%-12s %12d %12d %12d %12d %12d\n", l.kind, r.rate, r.produced, r.reported, r.lost, r.produced-r.reported-r.lost)
		failed = failed || r.produced > r.reported+r.lost
	}
	if failed {
		kctx.FatalIfErrorf(errors.New("facts are missing that nobody counted"))
	}
}

type result struct{ rate, produced, reported, lost int }

// measure runs one load under the eyes of an agent of its own.
func measure(l *counted) (result, error) {
	var mu sync.Mutex
	var r result
	mine := map[uint32]bool{uint32(os.Getpid()): true} //nolint:gosec // pids are positive
	lost := map[string]bool{}
	for _, name := range l.lost {
		lost[name] = true
	}
	w, err := watch.Start(context.Background(), agent.Options{DrainTimeout: time.Minute, QueueRecords: 2_000_000}, func(ev *spoorv1.Event) {
		mu.Lock()
		defer mu.Unlock()
		p := ev.GetProcess()
		if mine[p.GetParentTgid()] { // the generator, and what it starts
			mine[p.GetTgid()] = true
		}
		if loss := ev.GetLoss(); loss != nil && lost[loss.GetSource()+"/"+loss.GetReason()] {
			r.lost += int(loss.GetCount()) //nolint:gosec // fits
		}
		if mine[p.GetTgid()] && p.GetTgid() != uint32(os.Getpid()) { //nolint:gosec // as above
			r.reported += l.count(ev)
		}
	})
	if err != nil {
		return r, err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stopMyself(time.Duration(options.Stop) * time.Second) }()
	p, err := load.Make(l.kind, options.Dir, l.rate, time.Duration(options.Seconds)*time.Second)
	if err = errors.Join(err, <-stopped, w.Stop()); err != nil {
		return r, err
	}
	r.produced = p.Facts
	r.rate = int(float64(p.Operations) / p.Seconds)
	return r, nil
}

// stopMyself stops this whole process, the agent in it, for a while; the generator is another process and goes on.
func stopMyself(length time.Duration) error {
	if length == 0 {
		return nil
	}
	pid := os.Getpid()
	wake := exec.Command("sh", "-c", fmt.Sprintf("sleep %.3f; kill -CONT %d", length.Seconds(), pid))
	if err := wake.Start(); err != nil {
		return fmt.Errorf("wake up again: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return wake.Wait()
}
