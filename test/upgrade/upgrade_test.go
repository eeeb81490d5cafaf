// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// replacements is how often the agent is replaced: SPOOR_UPGRADES, or a few times.
func replacements(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("SPOOR_UPGRADES"))
	if os.Getenv("SPOOR_UPGRADES") == "" {
		return 5
	}
	if err != nil {
		t.Fatalf("SPOOR_UPGRADES: %v", err)
	}
	return n
}

// TestUpgrade replaces the agent under load: by the same version, by another, with the two at once and with a gap between.
func TestUpgrade(t *testing.T) {
	s := newScene(t)
	n := replacements(t)
	current := s.agent(s.builds[0]).attached()
	load := s.load()
	for i := range n {
		next := s.builds[(i+1)/2%2] // 0 1 1 0 0 1 ...: every other time it is the same version
		if i%3 == 0 {
			current.stop() // nobody is there for a while
			current = s.agent(next).attached()
			continue
		}
		waiting := s.agent(next) // until the other lets go
		current.stop()
		current = waiting.attached()
	}
	d := load.finish()
	current.stop()
	events := s.events()
	sequences(t, events)
	summary := sumUp(events, d.Tgid)
	t.Logf("%d replacements; done: %+v; %d events; lost: %v", n, d, len(events), summary.losses)
	summary.demand(t, d)
	summary.demandNoLoss(t)
	gaps := uint64(n)
	if summary.exact {
		gaps = 0
	}
	if told := summary.losses["names/no_agent"]; told != gaps {
		t.Errorf("%d gaps in names were told, want %d: one for each of %d replacements, and none in the full tier", told, gaps, n)
	}
}

// TestStoppedAndKilled stops an agent, so that it reads nothing, and kills it: all that was done since is in the kernel, and
// the next agent tells it.
func TestStoppedAndKilled(t *testing.T) {
	for _, kind := range []struct {
		name string
		next int
	}{{"same version", 0}, {"other version", 1}} {
		t.Run(kind.name, func(t *testing.T) {
			s := newScene(t)
			victim := s.agent(s.builds[0]).attached()
			s.until("the agent tells", func() string {
				if len(s.events()) == 0 {
					return "no event"
				}
				return ""
			})
			victim.signal(syscall.SIGSTOP)
			load := s.load()
			time.Sleep(time.Second) // the load's length, no waiting
			d := load.finish()
			victim.kill()
			s.agent(s.builds[kind.next]).attached().stop()
			events := s.events()
			summary := sumUp(events, d.Tgid)
			summary.demand(t, d)
			summary.demandNoLoss(t)
		})
	}
}

// TestKilled kills agents at any time. What they had read and not brought to the collector is lost with them; nothing is told
// twice, and what was done after the last kill is told.
func TestKilled(t *testing.T) {
	s := newScene(t)
	load := s.load()
	for i := range 4 {
		a := s.agent(s.builds[i%2]).attached()
		time.Sleep(time.Duration(100+130*i) * time.Millisecond) // at another point of its work each time
		a.kill()
	}
	last := s.agent(s.builds[0]).attached()
	second := s.load()
	first, d := load.finish(), second.finish()
	last.stop()
	events := s.events()
	sumUp(events, first.Tgid).notTwice(t)
	sumUp(events, d.Tgid).demand(t, d)
	sequences(t, events)
}

// TestOneAtATime starts a second agent beside one that runs.
func TestOneAtATime(t *testing.T) {
	s := newScene(t)
	first := s.agent(s.builds[0]).attached()
	hasty := s.builds[0]
	hasty.Patience = time.Second
	second := s.agent(hasty)
	err := second.wait()
	want := "belongs to process " + strconv.Itoa(first.cmd.Process.Pid)
	if err == nil || !strings.Contains(second.trace.String(), want) {
		t.Errorf("the second agent: %v, want an error that says %q:\n%s", err, want, &second.trace)
	}
	first.stop()
}
