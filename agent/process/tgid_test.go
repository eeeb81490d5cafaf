// SPDX-License-Identifier: Apache-2.0

package process

import (
	"testing"
	"time"

	"github.com/spoor/spoor/agent/sensor"
)

func TestByTgid(t *testing.T) {
	tab, s := newTable(t, 4)
	const tgid = unused + 5
	is := func(p *Process, want string) {
		t.Helper()
		got := "none"
		if p != nil {
			got = s.name(p.Proto.GetExecId())
		}
		if got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
	is(tab.ByTgid(tgid, 1), "none")

	tab.Apply(at(sensor.Found, 0, who(5, 1), sensor.Who{}))
	tab.Apply(at(sensor.Exec, time.Second, who(5, 2), sensor.Who{}))
	is(tab.ByTgid(tgid, uint64(2*time.Second)), "5.2")
	is(tab.ByTgid(tgid, uint64(time.Second/2)), "5.1")

	// Nobody looks before it has ended.
	tab.Apply(at(sensor.Exit, 3*time.Second, who(5, 2), sensor.Who{}))
	is(tab.ByTgid(tgid, uint64(4*time.Second)), "5.2")

	// Its number is given to another, which only lives to execute something.
	again := sensor.Who{StartBoottime: 77, Tgid: tgid, ExecCount: 7}
	s.names[tab.ExecID(again)] = "fork"
	program := again
	program.ExecCount++
	s.names[tab.ExecID(program)] = "program"
	tab.Apply(at(sensor.Fork, 5*time.Second, again, who(5, 2)))
	tab.Apply(at(sensor.Exec, 6*time.Second, program, sensor.Who{}))
	is(tab.ByTgid(tgid, uint64(5500*time.Millisecond)), "program")

	for tgid := range uint32(4) { // the table is full of others
		tab.Apply(at(sensor.Found, 7*time.Second, who(10+tgid, 1), sensor.Who{}))
	}
	is(tab.ByTgid(tgid, uint64(8*time.Second)), "none")
	if n := len(tab.newest); n != tab.Len() {
		t.Errorf("%d thread groups are remembered of %d images", n, tab.Len())
	}
}
