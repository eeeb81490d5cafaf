// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	"github.com/spoor/spoor/agent/sensor"
)

func newChanges(t *testing.T) *changes {
	t.Helper()
	c, err := openChanges(16)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func of(op sensor.NameOp, inode uint64) *change {
	return &change{NameChange: sensor.NameChange{Op: op, Inode: sensor.Inode{Number: inode}}}
}

func TestAlone(t *testing.T) {
	c := newChanges(t)
	now := time.Now()
	here, there := changeKey{dir: 1}, changeKey{dir: 2}
	for i := range maxSingles {
		if !c.alone(now, here, of(sensor.NameRemoved, 1)) {
			t.Fatalf("change %d is summed up", i+1)
		}
	}
	if c.alone(now, here, of(sensor.NameRemoved, 1)) {
		t.Error("a change too many is told by itself")
	}
	if !c.alone(now, there, of(sensor.NameRemoved, 1)) {
		t.Error("changes elsewhere are summed up, too")
	}
	if !c.alone(now.Add(singlesPer), here, of(sensor.NameRemoved, 1)) {
		t.Error("changes are summed up after the burst")
	}
	for range maxSingles {
		c.alone(now.Add(singlesPer), here, of(sensor.NameCreated, 1))
	}

	c.isTold(sensor.Inode{Number: 1})
	late := now.Add(singlesPer)
	for op, want := range map[sensor.NameOp]bool{
		sensor.NameRemoved: true, sensor.NameRenamed: true, sensor.NameLinked: true, sensor.AttributesChanged: false,
	} {
		if got := c.alone(late, here, of(op, 1)); got != want {
			t.Errorf("operation %d on a file that was told of: by itself is %v", op, got)
		}
		if c.alone(late, here, of(op, 2)) {
			t.Errorf("operation %d on a file that nobody knows is told by itself", op)
		}
	}
	directory := of(sensor.NameRenamed, 2)
	directory.Directory = true
	if !c.alone(late, here, directory) {
		t.Error("what happens to everything below a directory is summed up")
	}
}

func TestFileIsMadeBeforeItIsWritten(t *testing.T) {
	c := newChanges(t)
	inode := sensor.Inode{Number: 5, Generation: 6}
	c.read = []change{*of(sensor.NameCreated, 4), {NameChange: sensor.NameChange{Op: sensor.NameCreated, Inode: inode, Before: 100}}}
	c.made[inode] = 1
	c.wrote(&sensor.Write{Inode: inode, First: 90, Data: true})
	c.wrote(&sensor.Write{Inode: inode, First: 95})
	if got := c.read[1].Before; got != 90 {
		t.Errorf("made at %d, want 90: it was written then", got)
	}
	if !c.written.Has(inode) {
		t.Error("the write is forgotten")
	}
	var none *changes
	none.wrote(&sensor.Write{Inode: inode})
	none.isTold(inode)
	if none.isGone(inode) {
		t.Error("without the sensor something is gone")
	}
}
