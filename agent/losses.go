// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

type lossKey struct{ source, reason string }

// allLosses reads every counter of the agent: what was lost since it started, by part and reason.
func (a *Agent) allLosses() (map[lossKey]uint64, error) {
	all := map[lossKey]uint64{}
	sources := map[string]func() ([]sensor.Loss, error){
		"process": a.process.Losses,
	}
	if a.file != nil {
		sources["file"] = a.file.Losses
	}
	if a.socket != nil {
		sources["socket"] = a.socket.Losses
	}
	if a.udp != nil {
		sources["udp"] = a.udp.Losses
	}
	if a.answers != nil {
		sources["dns"] = a.answers.dns.Losses
		all[lossKey{"dns", "table_full"}] = a.answers.names.evicted
	}
	if a.readback != nil {
		sources["readback"] = a.readback.losses
	}
	if a.joints != nil {
		all[lossKey{"unix", "too_many_holders"}] = a.joints.crowded
		all[lossKey{"unix", "too_many_listeners"}] = a.joints.listening.full
	}
	if a.translations != nil {
		all[lossKey{"nat", "table_full"}] = a.translations.table.Full()
		all[lossKey{"nat", "unreadable"}] = a.translations.failed
	}
	if a.changes != nil {
		sources["names"] = a.changes.names.Losses
		all[lossKey{"names", "unknown_process"}] = a.changes.unknown
	}
	for source, read := range sources {
		losses, err := read()
		if err != nil {
			return nil, err
		}
		for _, l := range losses {
			if !l.Benign {
				all[lossKey{source, l.Reason}] = l.Count
			}
		}
	}
	a.addQueueLosses(all)
	all[lossKey{"process", "table_full"}] = a.table.Evicted()
	all[lossKey{"process", "texts_cut"}] = a.table.Shortened()
	all[lossKey{"workload", "table_full"}] = a.workloads.Evicted()
	return all, nil
}

// reportLosses makes an event of each counter that grew. When process records were lost, it looks at all tasks again.
func (a *Agent) reportLosses(now time.Time) error {
	all, err := a.allLosses()
	if err != nil {
		return err
	}
	a.lost = all
	told := a.toldFull
	for k, n := range all {
		grown := n - a.losses[k]
		if grown == 0 || k.source == "spool" && a.queue.Full() && now.Sub(a.toldFull) < fullEvery {
			continue
		}
		a.losses[k] = n
		a.o.Logger.Warn("something was lost", "source", k.source, "reason", k.reason, "count", grown)
		rest, err := a.tellWhoLost(now, k, grown)
		if err != nil {
			return err
		}
		if grown = rest; grown == 0 {
			continue
		}
		if !a.tellLoss(now, k, grown) {
			a.losses[k] = n - grown // later, with what is lost until then
			continue
		}
		if k.source == "spool" {
			told = now
		}
		if k == (lossKey{"process", "ring_full"}) || k == (lossKey{"process", "preempted"}) {
			if err := a.process.Found(a.table.Apply); err != nil {
				return err
			}
		}
	}
	a.toldFull = told
	a.publish()
	return nil
}

// lostBy returns what knows whose the losses of a kind were; nil: nothing does.
func (a *Agent) lostBy(k lossKey) func() (map[uint64]uint64, error) {
	switch k {
	case lossKey{"file", "map_full"}:
		return a.file.LostBy
	case lossKey{"socket", "map_full"}:
		return a.socket.LostBy
	case lossKey{"udp", "map_full"}:
		return a.udp.LostBy
	case lossKey{"names", "ring_full"}:
		return a.changes.exact.LostBy
	default:
		return nil
	}
}

// tellWhoLost tells whose facts were lost, and returns how many of grown nobody knows that of.
func (a *Agent) tellWhoLost(now time.Time, k lossKey, grown uint64) (uint64, error) {
	ask := a.lostBy(k)
	if ask == nil {
		return grown, nil
	}
	by, err := ask()
	if err != nil {
		return 0, err
	}
	for cgroup, n := range by {
		n = min(n, grown) // some may have been lost since
		if grown -= n; n == 0 {
			continue
		}
		a.add(now, nil, a.workloads.Of(cgroup, 0, false), &spoorv1.Record{Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{
			Source: k.source, Reason: k.reason, Count: n,
		}}})
	}
	return grown, nil
}
