// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// node is sees, of what a node says of itself.
func (s *scene) node(fact any, want ...string) {
	s.t.Helper()
	ev := s.event(fact)
	ev.Instance, ev.Process = nil, nil
	s.expect(ev.GetKind(), s.judge.Observe(ev), want)
}

func cover(sensor, tier string) *spoorv1.Coverage {
	return &spoorv1.Coverage{Sensor: sensor, Tier: tier, Reason: "it says why"}
}

func TestBlindSensor(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.node(cover("names", "off"))
	s.node(cover("file", "full"))
	s.node(cover("", "off"))
	s.node(cover("udp", "sideways"))
	s.workload = stranger
	s.sees(listens("0.0.0.0", 1)) // nobody there has a contract yet
	s.workload = checkout
	s.sees(listens("0.0.0.0", 8443), "info blind.sensor names")
	if want := "node1: the names sensor is off"; s.last[0].Title != want || s.last[0].Workload.GetName() != "node1" || s.last[0].Workload.GetKind() != "Host" {
		t.Errorf("%+v", s.last[0])
	}
	s.node(cover("names", "off")) // the next agent says the same
	s.node(cover("file", "base"), "medium blind.sensor file")
	if want := "node1: the file sensor is base, and was full"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
	s.node(cover("names", "base"))
	s.tick(time.Minute, "cleared blind.sensor names")
	s.node(cover("file", "full"))
	s.tick(time.Minute, "cleared blind.sensor file")
	s.node(cover("names", "off"), "medium blind.sensor names")
}

func TestBlindLoss(t *testing.T) {
	loss := &spoorv1.Loss{Source: "file", Reason: "map_full", Count: 7}
	s := newScene(t, checkoutContract)
	s.node(loss) // nobody there has a contract yet
	s.sees(listens("0.0.0.0", 8443))
	s.node(loss, "low blind.loss file: map_full")
	s.node(loss)
	s.tick(lossQuiet, "cleared blind.loss file: map_full")
	s.sees(&spoorv1.Loss{Source: "names", Reason: "ring_full", Count: 1}, "low blind.loss names: ring_full")
	if w := s.last[0].Workload; !w.Same(checkout) || s.last[0].Owner.GetTeam() != "payments" {
		t.Errorf("about %v", w)
	}
	s.workload = stranger
	s.sees(loss) // what was lost was about somebody without a contract
	// Agents say Host where they do not know whose facts they lost.
	s.workload = &spoorv1.Workload{Cluster: "east", Namespace: "node1", Kind: "Host", Name: "node1"}
	s.sees(&spoorv1.Loss{Source: "spool", Reason: "queue_full", Count: 72}, "low blind.loss spool: queue_full")
	if w := s.last[0].Workload; !w.Same(s.workload) {
		t.Errorf("about %v", w)
	}
	s.sees(&spoorv1.Loss{Source: "readback", Reason: "unmarkable", Count: 5}, "info blind.loss readback: unmarkable")
}

func TestBlindAgent(t *testing.T) {
	s := newScene(t, checkoutContract)
	attend := func(silent bool, want ...string) {
		t.Helper()
		s.expect("attend", s.judge.Attend("east", "node1", silent, s.now), want)
	}
	attend(true) // nobody there has a contract yet
	attend(false)
	attend(true)
	s.after(time.Hour).sees(listens("0.0.0.0", 8443), "medium blind.agent its agent")
	attend(true)
	attend(false)
	s.tick(time.Minute, "cleared blind.agent its agent")
	attend(false)
	attend(true, "medium blind.agent its agent")
	if want := "node1: its agent has been silent since 2026-05-01 07:01:00 UTC"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
	// A judge that starts over does not know what the one before it said.
	again := newScene(t, checkoutContract)
	again.sees(listens("0.0.0.0", 8443))
	for _, want := range [][]string{{"cleared blind.agent its agent"}, nil} {
		again.expect("attend", again.judge.Attend("east", "node1", false, again.now), want)
	}
	// Contracts that change change nothing about it.
	if got := s.judge.Reload(mustSet(t, batchContract)); got != nil {
		t.Errorf("%v", got)
	}
}
