// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"time"

	"github.com/spoor/spoor/agent/sensor"
)

const (
	// How often the wall clock is compared with the time since boot, and counters of losses are read.
	clockEvery  = 30 * time.Second
	lossesEvery = 5 * time.Second
	// How often the bytes of connections that live on are read, and who answered on connected UDP sockets.
	bytesEvery = 10 * time.Second
	// How often it is asked whether the kernel has loaded the module of a file system.
	modulesEvery = 10 * time.Second
)

// chore is something that the observing goroutine does now and then.
type chore struct {
	every time.Duration
	do    func(now time.Time) error
	last  time.Time
}

// observe reads the sensors until ctx ends.
func (a *Agent) observe(ctx context.Context) error {
	next := time.Now()
	if err := a.reportLosses(next); err != nil { // every counter is known, and published, from the start
		return err
	}
	if a.pins != nil { // what the previous agent had taken out and not read
		if err := a.turn(next); err != nil {
			return err
		}
	}
	chores := []*chore{
		{every: clockEvery, do: func(time.Time) error { return a.clock.Sync() }, last: next},
		{every: lossesEvery, do: a.reportLosses, last: next},
		{every: bytesEvery, do: func(time.Time) error { return a.lookAtSockets() }, last: next},
		{every: modulesEvery, do: func(time.Time) error { a.extendFile(); return nil }, last: next},
		{every: a.o.MemoryInterval, do: a.tellShares},
		{every: a.o.UnixInterval, do: a.tellJoints},
	}
	for ctx.Err() == nil {
		next = next.Add(a.o.Interval)
		if now := time.Now(); next.Before(now) { // the last turn took longer than the interval
			next = now.Add(a.o.Interval)
		}
		// Between two turns process events are taken as the kernel side asks for it.
		if err := a.wait(ctx, next); err != nil {
			return err
		}
		now := time.Now()
		for _, c := range chores {
			if now.Sub(c.last) >= c.every {
				c.last = now
				if err := c.do(now); err != nil {
					return err
				}
			}
		}
		if err := a.turn(now); err != nil {
			return err
		}
		a.queue.Flush()
	}
	return nil
}

// wait reads process events until deadline, looking at ctx often enough for a prompt stop.
func (a *Agent) wait(ctx context.Context, deadline time.Time) error {
	const look = 100 * time.Millisecond
	for ctx.Err() == nil {
		until := time.Now().Add(look)
		if until.After(deadline) {
			until = deadline
		}
		if err := a.process.Read(until, a.apply); err != nil {
			return err
		}
		if until.Equal(deadline) {
			return nil
		}
	}
	return nil
}

// lookAtSockets reads what the kernel keeps in its sockets anyway, into facts.
func (a *Agent) lookAtSockets() error {
	if a.udp != nil {
		if err := a.udp.Answered(true); err != nil {
			return err
		}
	}
	if a.socket == nil {
		return nil
	}
	return a.socket.CountBytes()
}

// turn ends one interval of every sensor and tells what is due.
func (a *Agent) turn(now time.Time) error {
	if a.udp != nil {
		if err := a.udp.Answered(false); err != nil {
			return err
		}
	}
	// First: whatever was read until now was written before.
	if err := a.readback.fetch(); err != nil {
		return err
	}
	var files, sockets bool
	var err error
	if a.file != nil {
		if files, err = a.file.Exchange(); err != nil {
			return err
		}
	}
	if a.socket != nil {
		if sockets, err = a.socket.Exchange(); err != nil {
			return err
		}
	}
	if err := a.changes.fetch(); err != nil {
		return err
	}
	// After the exchange: whoever is named in a fact has begun, and his beginning is read here.
	if err := a.process.Read(now, a.apply); err != nil {
		return err
	}
	if files {
		if err := a.readWrites(now); err != nil {
			return err
		}
	}
	if err := a.readAnswers(now); err != nil {
		return err
	}
	if sockets {
		if err := a.socket.Read(func(f *sensor.Flow) { a.addFlow(now, f) }); err != nil {
			return err
		}
	}
	a.stretch()
	a.tellChanges(now, false) // before the writes: a file is made first
	a.tell(now, false)
	a.tellReadings(now)                            // after the writes
	a.table.Tick(uint64(now.Sub(a.clock.Time(0)))) //nolint:gosec // after boot
	a.settle(now)
	return a.present(now)
}

// finish reads the sensors for the last time, detaches them and tells everything.
func (a *Agent) finish() error {
	now := time.Now()
	errs := []error{a.lookAtSockets(), a.turn(now)}
	a.tellChanges(now, true)
	a.tell(now, true)
	a.settleAll()
	errs = append(errs, a.reportLosses(now))
	if a.o.Unpin {
		errs = append(errs, a.pins.Remove())
	}
	errs = append(errs, a.close())
	a.queue.Flush()
	return errors.Join(errs...)
}
