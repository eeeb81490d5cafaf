// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/spoor/spoor/agent/ship"
	"github.com/spoor/spoor/agent/ship/spool"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// The longest pause between two events of one footprint while the spool is more than half full: what goes on is summed up
	// further before anything has to be dropped.
	crowdedPause = 10 * time.Minute
	// How often losses of the queue are told while it goes on losing: what tells them takes room.
	fullEvery = time.Minute
	// How often a folder that another agent has is tried.
	heldRetry = 50 * time.Millisecond
)

// openQueue makes the queue, with a spool where one is asked for.
func (a *Agent) openQueue(hello *spoorv1.Hello) error {
	if a.o.Spool != "" {
		var err error
		if a.spool, err = a.openSpool(hello); err != nil {
			return err
		}
		found := a.spool.Found()
		a.o.Logger.Info("events outlive this agent on disk", "spool", a.o.Spool, "bytes", a.o.SpoolBytes, "left_by_earlier_runs", found.Records)
		if found.Places > 0 {
			a.o.Logger.Warn("parts of what earlier runs left are torn or damaged", "places", found.Places, "bytes", found.LostBytes, "events", found.LostRecords)
		}
		if len(found.Foreign) > 0 {
			a.o.Logger.Warn("the spool has files that this version cannot read; they stay, and take up room", "files", found.Foreign)
		}
	}
	a.queue = ship.NewQueue(ship.QueueOptions{Limit: a.o.QueueRecords, Spool: a.spool, Logger: a.o.Logger})
	return nil
}

// openSpool waits a while for the agent before this one to let go of the folder.
func (a *Agent) openSpool(hello *spoorv1.Hello) (*spool.Spool, error) {
	for deadline := time.Now().Add(a.o.PinPatience); ; time.Sleep(heldRetry) {
		s, err := ship.OpenSpool(a.o.Spool, a.o.SpoolBytes, hello)
		if _, held := errors.AsType[*spool.HeldError](err); held && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w; give this agent another folder (--spool), or none", err)
		}
		return s, nil
	}
}

// closeSpool releases what openQueue took, for an agent that will not run.
func (a *Agent) closeSpool() error {
	if a.spool == nil {
		return nil
	}
	return a.spool.Close()
}

// left returns how many records of earlier runs wait in the spool.
func (a *Agent) left() int {
	if a.spool == nil {
		return 0
	}
	n := 0
	for _, run := range a.spool.Left() {
		n += run.Records()
	}
	return n
}

// stretch makes summaries longer while the spool is more than half full.
func (a *Agent) stretch() {
	if a.spool == nil {
		return
	}
	pause := maxPause
	if a.spool.Bytes() > a.o.SpoolBytes/2 {
		pause = crowdedPause
	}
	a.writes.SetMax(pause)
	a.flows.SetMax(pause)
}

// addQueueLosses adds what the way to the collector lost.
func (a *Agent) addQueueLosses(all map[lossKey]uint64) {
	lost := a.queue.Stats().Lost
	all[lossKey{"spool", "queue_full"}] = lost.QueueFull
	if a.spool == nil {
		return
	}
	all[lossKey{"spool", "spool_full"}] = lost.SpoolFull
	all[lossKey{"spool", "damaged"}] = lost.Damaged
	all[lossKey{"spool", "refused"}] = lost.Refused
}

// tellLoss queues the event of a loss; it reports false when there is no room even for that.
func (a *Agent) tellLoss(now time.Time, k lossKey, n uint64) bool {
	r := &spoorv1.Record{
		TimeUnixNano: uint64(now.UnixNano()),
		Fact:         &spoorv1.Record_Loss{Loss: &spoorv1.Loss{Source: k.source, Reason: k.reason, Count: n}},
	}
	return a.queue.Add(r, nil, a.workloads.Host().Proto())
}
