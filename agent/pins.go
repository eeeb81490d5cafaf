// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/sensor/pin"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// What Options.Pin takes besides a folder.
const (
	// PinOff keeps nothing in the kernel when the agent ends.
	PinOff = "off"
	// PinAuto takes DefaultPin, and does without when that cannot be had.
	PinAuto = "auto"
	// DefaultPin is a folder of the BPF file system where systemd and Kubernetes' nodes have it.
	DefaultPin = "/sys/fs/bpf/spoor"
)

// openPins takes over what an earlier agent left in the kernel. A folder that was asked for by name must be had.
func (a *Agent) openPins() error {
	var err error
	switch a.o.Pin {
	case "", PinOff:
	case PinAuto:
		a.pins, err = pin.Open(DefaultPin, 0)
		if _, held := errors.AsType[*pin.HeldError](err); held {
			a.o.Logger.Warn("nothing is kept in the kernel for the next agent: another agent keeps it", "reason", err)
		} else if err != nil {
			a.o.Logger.Info("nothing is kept in the kernel for the next agent", "reason", err)
		}
	default:
		a.pins, err = pin.Open(a.o.Pin, a.o.PinPatience)
		if held, ok := errors.AsType[*pin.HeldError](err); ok {
			return fmt.Errorf("%w; stop that one, or give this one another folder (--pin) or none (--pin off)", held)
		}
		if err != nil {
			return err
		}
	}
	if a.pins != nil {
		a.o.Logger.Info("programs and facts outlive this agent in the kernel", "pins", a.pins.Path())
	}
	return nil
}

// forkGrace is how long after a process can be seen the record of its fork may come. Who is met in that instant would be
// told as found, and not as having begun. Those in the middle of an exec are not met (bpf/process.bpf.c).
const forkGrace = 50 * time.Millisecond

// meet makes the table know everybody: those that run, and those of whom the kernel side told since the previous agent left.
// Who was recorded is told from the record, all others are found: the older first, since they are the others' parents. The
// records are read after the walk, so that nobody is found whose record is still to come.
func (a *Agent) meet() error {
	var found, recorded []sensor.ProcessEvent
	begun := map[sensor.Who]bool{}
	record := func(ev *sensor.ProcessEvent) {
		recorded = append(recorded, *ev)
		if ev.Cause == sensor.Fork || ev.Cause == sensor.Exec {
			begun[ev.Who] = true
		}
	}
	if err := a.process.Found(func(ev *sensor.ProcessEvent) { found = append(found, *ev) }); err != nil {
		return err
	}
	if err := a.process.Inherited(record); err != nil {
		return err
	}
	if err := a.process.Read(time.Now().Add(forkGrace), record); err != nil {
		return err
	}
	for i := range found {
		if !begun[found[i].Who] {
			a.table.Apply(&found[i])
		}
	}
	for i := range recorded {
		a.table.Apply(&recorded[i])
	}
	return nil
}

// tellGap says between when nobody saw what a sensor sees that has no program pinned, as in the base tier.
func (a *Agent) tellGap(source string) {
	previous := a.pins.Previous()
	if previous == 0 {
		return
	}
	from, now := a.clock.Time(previous), time.Now()
	a.add(now, nil, nil, &spoorv1.Record{Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{
		Source: source, Reason: "no_agent", Count: 1, From: timestamppb.New(from), To: timestamppb.New(now),
	}}})
}

// present notes for the next agent that this one looked now.
func (a *Agent) present(now time.Time) error {
	return a.pins.Present(uint64(now.Sub(a.clock.Time(0)))) //nolint:gosec // after boot
}
