// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Place is a directory, and how the file system that it lies on is called.
type Place struct{ FileSystem, Dir string }

// Options of Run.
type Options struct {
	// Agent to test. Where it ships to and how often it looks is filled in.
	Agent agent.Options
	// Places for the acts on files; all others are done in the first. A directory is made in each, and removed.
	Places []Place
	// Acts to do: all, when empty.
	Acts []*act.Act
	// Each act may take so long, and what goes on must be told within as much: 30 s.
	Patience time.Duration
	// Begin is told, when set, of each act before it is done.
	Begin func(a *act.Act, fileSystem string)
}

// done is an act that was done and is to be judged.
type done struct {
	act    *act.Act
	fs     string
	result *act.Result
	// report, when set, is how the events told the act while it went on.
	report *act.Report
}

// cell says what became of it; the file system makes a difference to acts on files only.
func (d *done) cell(state State, why string) Cell {
	c := Cell{Act: d.act.Name, Group: d.act.Group, State: state, Why: why}
	if d.act.Group == act.GroupFile {
		c.FileSystem = d.fs
	}
	return c
}

// run is one self-test.
type run struct {
	o    Options
	node node
	done []done
	// cells of acts that could not be done.
	cells []Cell

	mu     sync.Mutex
	events []*spoorv1.Event
}

// Run does the acts under the eyes of an agent. An error means that the test could not be done; what it found is in the report.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if len(o.Places) == 0 {
		return nil, errors.New("self-test: no directory to do the acts in")
	}
	if len(o.Acts) == 0 {
		o.Acts = act.All()
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	o.Agent.Interval, o.Agent.MemoryInterval, o.Agent.UnixInterval = 200*time.Millisecond, time.Second, time.Second
	if o.Agent.DrainTimeout == 0 {
		o.Agent.DrainTimeout = o.Patience
	}
	r := &run{o: o}
	r.o.Places = nil
	for _, p := range o.Places {
		dir, err := os.MkdirTemp(p.Dir, "spoor-selftest-")
		if err != nil {
			return nil, fmt.Errorf("self-test: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		r.o.Places = append(r.o.Places, Place{p.FileSystem, dir})
	}
	report, err := r.watched(ctx)
	if err != nil {
		return nil, fmt.Errorf("self-test: %w", err)
	}
	again := report.untold()
	if len(again) == 0 || len(again) > maxAgain {
		return report, nil
	}
	second := &run{o: r.o}
	second.o.Acts = slices.DeleteFunc(slices.Clone(r.o.Acts), func(a *act.Act) bool { return !slices.Contains(again, a.Name) })
	other, err := second.watched(ctx)
	if err != nil {
		return nil, fmt.Errorf("self-test, second attempt: %w", err)
	}
	report.merge(other)
	return report, nil
}

// An act that was not told is done a second time, unless there are more than this: the kernel runs no program for what an
// interrupt brings while that program is at work on the same CPU. More than a few are no accident.
const maxAgain = 3

// watched does the acts once, under the eyes of one agent.
func (r *run) watched(ctx context.Context) (*Report, error) {
	begin := time.Now()
	w, err := watch.Start(ctx, r.o.Agent, r.keep)
	if err != nil {
		return nil, err
	}
	release, _ := kernel.Release()
	report := &Report{KernelRelease: release, Tier: r.o.Agent.Tier, Sensors: sensors(w.Coverage())}
	r.node = node{release: release, tier: r.o.Agent.Tier, sensors: report.Sensors}
	err = r.acts(ctx)
	if err := errors.Join(err, w.Stop()); err != nil {
		return nil, err
	}
	events := r.told()
	if len(events) == 0 {
		return nil, errors.New("the agent told nothing at all")
	}
	for _, d := range r.done {
		r.cells = append(r.cells, r.node.judge(d, events))
	}
	order := map[string]int{}
	for i, a := range r.o.Acts {
		order[a.Name] = i
	}
	slices.SortStableFunc(r.cells, func(a, b Cell) int { return order[a.Act] - order[b.Act] })
	report.Cells, report.Losses, report.Took = r.cells, losses(events), time.Since(begin)
	return report, nil
}

// keep takes the agent's events, one at a time.
func (r *run) keep(ev *spoorv1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *run) told() []*spoorv1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// acts does them all, one after the other: what goes on at the same time can hide a mistake.
func (r *run) acts(ctx context.Context) error {
	for i, p := range r.o.Places {
		for _, a := range r.o.Acts {
			if i > 0 && a.Group != act.GroupFile {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.do(ctx, a, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) do(ctx context.Context, a *act.Act, p Place) (err error) {
	d := done{act: a, fs: p.FileSystem}
	if r.o.Begin != nil {
		r.o.Begin(a, p.FileSystem)
	}
	env := act.Env{Dir: p.Dir}
	if r.node.lasting(a) {
		env.Hold = func(ctx context.Context, result *act.Result) error {
			d.report = r.await(ctx, result)
			return nil
		}
	}
	if a.Joins {
		two, err := newCgroups()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, two.remove()) }()
		if two.roles == nil {
			r.cells = append(r.cells, d.cell(Impossible, "no cgroup v2 hierarchy is mounted: nobody can make two workloads"))
			return nil
		}
		env.Cgroups = two.roles
	}
	// Twice, as a lasting act takes its own time and that of telling it.
	limited, cancel := context.WithTimeout(ctx, 2*r.o.Patience)
	defer cancel()
	d.result, err = a.Do(limited, env)
	no, unsupported := errors.AsType[*act.Unsupported](err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case unsupported:
		r.cells = append(r.cells, d.cell(Impossible, no.Reason))
	case err != nil:
		r.cells = append(r.cells, d.cell(Failed, err.Error()))
	default:
		r.done = append(r.done, d)
	}
	return nil
}

// await judges what goes on until it is told, or patience ends.
func (r *run) await(ctx context.Context, result *act.Result) *act.Report {
	limited, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		report := result.Judge(r.told())
		if report.OK() {
			return report
		}
		select {
		case <-limited.Done():
			return report
		case <-tick.C:
		}
	}
}

// losses are those that nothing excuses. Other programs, whatever the acts do, remove directories before their names are
// read, have sockets that are older than the agent, read files that cannot be watched (tmpfs before 5.13) or read one all the
// time, and are interrupted while they connect.
func losses(events []*spoorv1.Event) []string {
	excused := []string{"name_unreadable", "unknown_owner", "unmarkable", "hot", "preempted"}
	var list []string
	for _, ev := range events {
		if l := ev.GetLoss(); l != nil && !slices.Contains(excused, l.GetReason()) {
			list = append(list, fmt.Sprintf("%s: %d, %s", l.GetSource(), l.GetCount(), l.GetReason()))
		}
	}
	return list
}
