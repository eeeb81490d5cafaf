// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/bench/traffic"
)

// maxLate is how far the measurement may fall behind before there is nothing to measure.
const maxLate = 20 * time.Second

// flushes are how often a second an agent that has little sends it: agent/ship has it wait a second for more.
const flushes = 1

// connected measures many agents with few events each, all at a time.
func connected(ctx context.Context, program, dir string) error {
	p, err := start(program, dir)
	if err != nil {
		return err
	}
	f := traffic.New(options.Agents, options.Services, time.Now())
	begun := time.Now()
	agents, err := dialAll(ctx, p.url, f)
	if err != nil {
		return err
	}
	welcomed := time.Since(begun)
	c := &crowd{fleet: f, agents: agents}
	visible := &samples{}
	probing, stopProbing := context.WithCancel(ctx)
	defer stopProbing()
	var probe errgroup.Group
	probe.Go(func() error { return look(probing, p.url, visible) })

	// What is new to the collector in the beginning costs more than what goes on.
	if err := c.talk(ctx, time.Duration(options.Warm)*time.Second); err != nil {
		return err
	}
	visible.reset()
	c.acknowledged.reset()
	warm := c.events
	before, err := p.spending()
	if err != nil {
		return err
	}
	begun = time.Now()
	if err := c.talk(ctx, time.Duration(options.Seconds)*time.Second); err != nil {
		return err
	}
	took := time.Since(begun)
	after, err := p.spending()
	if err != nil {
		return err
	}
	stopProbing()
	if err := probe.Wait(); err != nil {
		return err
	}
	now, most, err := p.Resident()
	if err != nil {
		return err
	}
	closeAll(agents)
	if err := p.Stop(); err != nil {
		return err
	}
	bytes, err := p.stored()
	if err != nil {
		return err
	}
	events := float64(c.events - warm)
	mine, beside, others := after.over(before, took)
	fmt.Fprintf(os.Stdout, "| %d agents at %d events a second each, for %s, after %d s that do not count | |\n|---|---|\n", options.Agents, options.Rate, took.Round(time.Second), options.Warm)
	fmt.Fprintf(os.Stdout, "| all of them welcomed after | %s |\n| events, durable | %d |\n| events a second | %.0f |\n| batches a second | %.0f |\n", welcomed.Round(10*time.Millisecond), c.events-warm, events/took.Seconds(), float64(c.acknowledged.len())/took.Seconds())
	fmt.Fprintf(os.Stdout, "| from sending to the acknowledgement, p50 / p99 / longest | %s |\n| from sending to being seen in a query, p50 / p99 / longest | %s |\n", &c.acknowledged, visible)
	fmt.Fprintf(os.Stdout, "| processors that the collector took / the agents beside it / everybody else on the machine | %.2f / %.2f / %.2f of %d |\n| processor time of the collector for an event | %.1f µs |\n| bytes an event in the store | %.1f |\n| resident memory of the collector, at the end / most | %d MiB / %d MiB |\n\n",
		mine, beside, others, runtime.NumCPU(), mine*took.Seconds()*1e6/events, float64(bytes)/float64(c.events), now, most)
	return nil
}

// crowd are agents that talk at a time.
type crowd struct {
	fleet        *traffic.Fleet
	agents       []*agent
	events       int
	acknowledged samples
}

// parcel is what an agent sends at a time.
type parcel struct {
	message  []byte
	sequence uint64
	due      time.Time // of the first that it waited with
}

// talk lets each agent send what came together, once a second, and returns when all is acknowledged. The agents have their turns
// evenly spread. As agent/ship has it, one that waits for an acknowledgement lets its turn pass, and sends more the next time.
func (c *crowd) talk(ctx context.Context, length time.Duration) error {
	// Each agent sends and hears on a goroutine of its own; one goroutine makes what they send.
	queues := make([]chan parcel, len(c.agents))
	busy := make([]atomic.Bool, len(c.agents))
	group, ctx := errgroup.WithContext(ctx)
	for n, a := range c.agents {
		queues[n] = make(chan parcel, 1)
		group.Go(func() error {
			for p := range queues[n] {
				if err := a.send(p.message); err != nil {
					return err
				}
				if err := a.await(p.sequence); err != nil {
					return err
				}
				c.acknowledged.add(time.Since(p.due))
				busy[n].Store(false)
			}
			return nil
		})
	}
	err := c.turns(ctx, length, func(n int) bool { return !busy[n].Load() }, func(n int, b *spoorv1.Batch, due time.Time) error {
		m, err := encodeBatch(b)
		if err != nil {
			return err
		}
		busy[n].Store(true)
		queues[n] <- parcel{m, b.GetSequence(), due}
		return nil
	})
	for _, q := range queues {
		close(q)
	}
	return errors.Join(err, group.Wait())
}

// turns makes batches of the agents, one after the other, in time: of those that are free, with what came since their last.
func (c *crowd) turns(ctx context.Context, length time.Duration, free func(n int) bool, send func(n int, b *spoorv1.Batch, due time.Time) error) error {
	pause := time.Second / time.Duration(flushes*len(c.agents))
	begun := time.Now()
	missed := make([]int, len(c.agents))
	for turn := 0; ; turn++ {
		due := begun.Add(time.Duration(turn) * pause)
		if due.Sub(begun) >= length {
			return c.rest(ctx, missed, due, free, send)
		}
		if wait := time.Until(due); wait > 2*time.Millisecond { // a nap for some of them
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		n := turn % len(c.agents)
		waited := time.Duration(missed[n]) * time.Second / flushes
		if late := time.Since(due) + waited; late > maxLate {
			return fmt.Errorf("the collector, or this program beside it, is %s behind after %s: %d events were sent", late.Round(time.Second), due.Sub(begun).Round(time.Second), c.events)
		}
		if !free(n) {
			missed[n]++
			continue
		}
		if err := c.say(n, missed, due, send); err != nil {
			return err
		}
	}
}

// say has an agent send what came since its last turn.
func (c *crowd) say(n int, missed []int, due time.Time, send func(n int, b *spoorv1.Batch, due time.Time) error) error {
	c.fleet.Now = due
	b := c.fleet.Next(n, (missed[n]+1)*options.Rate/flushes)
	c.events += len(b.GetRecords())
	due = due.Add(-time.Duration(missed[n]) * time.Second / flushes)
	missed[n] = 0
	return send(n, b, due)
}

// rest has agents send what their last turns left.
func (c *crowd) rest(ctx context.Context, missed []int, due time.Time, free func(n int) bool, send func(n int, b *spoorv1.Batch, due time.Time) error) error {
	for n := range missed {
		for missed[n] > 0 {
			if !free(n) {
				select {
				case <-time.After(time.Millisecond):
					continue
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			missed[n]-- // no event came with this turn
			if err := c.say(n, missed, due, send); err != nil {
				return err
			}
		}
	}
	return nil
}

// look has an agent tell of a file now and then, and asks until the answer has it.
func look(ctx context.Context, url string, took *samples) error {
	hello := &spoorv1.Hello{Cluster: traffic.Cluster, Node: "probe", Epoch: "probe"}
	a, err := dial(ctx, url, hello)
	if err != nil {
		return err
	}
	defer func() { _ = a.close() }()
	client := asker(url)
	for n := uint64(1); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		now := time.Now()
		path := fmt.Sprintf("/probe/%d", n)
		m, err := encodeBatch(&spoorv1.Batch{Sequence: n, Sent: timestamppb.New(now), Records: []*spoorv1.Record{{
			Sequence: n, TimeUnixNano: uint64(now.UnixNano()),
			Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: path}, First: timestamppb.New(now), Last: timestamppb.New(now)}},
		}}})
		if err != nil {
			return err
		}
		if err := a.send(m); err != nil {
			return fmt.Errorf("the probe: %w", err)
		}
		for seen := false; !seen; {
			answer, err := client.ListEvents(ctx, connect.NewRequest(&spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{PathPrefix: path}, Limit: 1}))
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("ask for the probe: %w", err)
			}
			if seen = len(answer.Msg.GetEvents()) > 0; !seen {
				time.Sleep(20 * time.Millisecond)
			}
		}
		took.add(time.Since(now))
		if err := a.await(n); err != nil {
			return err
		}
	}
}

// samples are durations of which somebody asks for percentiles.
type samples struct {
	mu  sync.Mutex
	all []time.Duration
}

func (s *samples) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, d)
}

func (s *samples) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

func (s *samples) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func (s *samples) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return "none"
	}
	slices.Sort(s.all)
	at := func(p int) time.Duration {
		return s.all[min(len(s.all)*p/100, len(s.all)-1)].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%s / %s / %s", at(50), at(99), at(100))
}
