// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"slices"

	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// openFile opens the best tier of the file sensor that this kernel allows.
func (a *Agent) openFile() error {
	c := &spoorv1.Coverage{Sensor: "file"}
	a.coverage = append(a.coverage, processCoverage(), c)
	if a.without(c) {
		return nil
	}
	o := sensor.FileOptions{Facts: a.o.FileFacts, NameRing: a.o.NameRingBytes, Pins: a.pins}
	why := a.mayFull()
	if why == nil {
		o.Full = true
		a.file, why = sensor.OpenFile(o)
	}
	const tick = ", on tmpfs, what is written within 4 ms of the making of a file (sensor names sees that)"
	if why == nil {
		c.Tier, c.Reason = "full", "sees changes of content; not"+tick
		blind := a.file.Blind()
		for _, name := range slices.Sorted(maps.Keys(blind)) {
			c.Reason += "; nor, on " + name + ", a second writer of a page that is dirty already: " + blind[name].Error()
		}
		return nil
	}
	o.Full = false
	var err error
	a.file, err = sensor.OpenFile(o)
	c.Tier = "base"
	c.Reason = "sees changes of content; not, on xfs and btrfs, a second writer of a page that is dirty already, reflinks and fallocate, nor" + tick +
		"; not in the full tier: " + why.Error()
	return err
}

// extendFile lets the file sensor see into file systems whose modules were loaded since it was last called.
func (a *Agent) extendFile() {
	if a.file == nil {
		return
	}
	added, err := a.file.Extend()
	for _, module := range added {
		a.o.Logger.Info("file sensor extended", "file_system", module)
	}
	if err != nil { // without it the sensor sees less, and all that it saw before
		a.o.Logger.Warn("file sensor not extended", "error", err)
	}
}
