// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"slices"
	"time"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// open loads the sensors: processes first, so that whoever writes or calls later is known.
func (a *Agent) open() error {
	var err error
	// First: who has the pins is the only agent.
	if err := a.openPins(); err != nil {
		return err
	}
	// Before the processes: each of those that run already shows its mounts.
	names := a.openChanges()
	if a.changes != nil && (a.changes.exact == nil || !a.changes.exact.Watched()) {
		a.tellGap("names")
	}
	if a.process, err = sensor.OpenProcess(a.o.ProcessRingBytes, a.pins); err != nil {
		return err
	}
	if err := a.meet(); err != nil {
		return err
	}
	if err := a.changes.begin(); err != nil {
		return err
	}
	for _, open := range []func() error{a.openFile, a.openSocket, a.openUDP, a.openDNS, a.openUnix} {
		if err := open(); err != nil {
			return err
		}
	}
	a.openMemory()
	a.openNAT()
	readings := a.openReadback()
	if err := a.pins.Sweep(); err != nil {
		return err
	}
	a.coverage = append(a.coverage, names, readings)
	for _, c := range a.coverage {
		a.o.Logger.Info("sensor attached", "sensor", c.GetSensor(), "tier", c.GetTier(), "reason", c.GetReason())
		a.add(time.Now(), nil, nil, &spoorv1.Record{Fact: &spoorv1.Record_Coverage{Coverage: c}})
	}
	return nil
}

// without tells whether a sensor is left out because somebody wanted it so, which its coverage then says.
func (a *Agent) without(c *spoorv1.Coverage) bool {
	if !slices.Contains(a.o.Without, c.GetSensor()) {
		return false
	}
	c.Tier, c.Reason = "off", "it was switched off"
	return true
}

func (a *Agent) openSocket() error {
	c := &spoorv1.Coverage{Sensor: "socket"}
	a.coverage = append(a.coverage, c)
	if a.without(c) {
		return nil
	}
	var err error
	if a.socket, err = sensor.OpenSocket(a.o.FlowFacts, a.pins); err != nil {
		return err
	}
	c.Tier, c.Reason = "base", "sees TCP"
	return a.socket.Adopt()
}

// openUDP does without the sensor where the kernel has no place for it, and says so.
func (a *Agent) openUDP() error {
	udp := &spoorv1.Coverage{Sensor: "udp", Tier: "base", Reason: "sees peers of datagrams, not their bytes; of a connected socket " +
		"only that it got an answer, or was asked for its peer"}
	a.coverage = append(a.coverage, udp)
	if a.without(udp) {
		return nil
	}
	if a.socket == nil {
		udp.Tier, udp.Reason = "off", "UDP is not seen: it needs the sensor socket"
		return nil
	}
	root, err := kernel.CgroupMount()
	if err != nil {
		return err
	}
	if root == "" {
		udp.Tier, udp.Reason = "off", "no cgroup v2 hierarchy is mounted: UDP is not seen"
		return nil
	}
	if a.udp, err = sensor.OpenUDP(a.socket, root, a.pins); err != nil {
		udp.Tier, udp.Reason = "off", "UDP is not seen: "+err.Error()
	}
	return nil
}

// openMemory does without the sensor where the kernel is too old for it, and says so.
func (a *Agent) openMemory() {
	c := &spoorv1.Coverage{Sensor: "memory", Tier: "base", Reason: "sees memory that instances share while both have it mapped, every " +
		a.o.MemoryInterval.String()}
	a.coverage = append(a.coverage, c)
	if a.without(c) {
		return
	}
	var err error
	if a.shares, err = openShares(); err != nil {
		c.Tier, c.Reason = "off", "shared memory is not seen (it takes a kernel since 5.13): "+err.Error()
	}
}

func (a *Agent) close() error {
	var errs []error
	if a.changes != nil {
		errs = append(errs, a.changes.names.Close())
	}
	if a.readback != nil {
		errs = append(errs, a.readback.close())
	}
	if a.shares != nil {
		errs = append(errs, a.shares.memory.Close())
	}
	if a.joints != nil {
		errs = append(errs, a.joints.unix.Close())
	}
	if a.answers != nil {
		errs = append(errs, a.answers.dns.Close())
	}
	if a.udp != nil {
		errs = append(errs, a.udp.Close())
	}
	if a.socket != nil {
		errs = append(errs, a.socket.Close())
	}
	if a.file != nil {
		errs = append(errs, a.file.Close())
	}
	if a.process != nil {
		errs = append(errs, a.process.Close())
	}
	if a.storage != nil {
		errs = append(errs, a.storage.Close())
	}
	errs = append(errs, a.pins.Close())
	return errors.Join(errs...)
}
