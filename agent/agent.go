// SPDX-License-Identifier: Apache-2.0

// Package agent is the node side: it puts sensors, process table, workloads, storage, footprint and shipping together.
//
// It knows no collector but the wire to it, and it changes nothing on the node.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/footprint"
	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/netns"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/agent/ship"
	"github.com/spoor/spoor/agent/ship/spool"
	"github.com/spoor/spoor/agent/storage"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// How often the wall clock is compared with the time since boot, and counters of losses are read.
	clockEvery  = 30 * time.Second
	lossesEvery = 5 * time.Second
	// How often the bytes of connections that live on are read, and who answered on connected UDP sockets.
	bytesEvery = 10 * time.Second
	// The pauses between two events of one footprint while it goes on.
	minPause = time.Second
	maxPause = time.Minute
)

// Agent observes one node.
type Agent struct {
	o        Options
	clock    *kernel.Clock
	process  *sensor.Process
	file     *sensor.File // this and those below are nil when they are left out, too
	socket   *sensor.Socket
	udp      *sensor.UDP    // nil where there is no cgroup v2 hierarchy
	shares   *shares        // nil where the kernel cannot iterate mappings
	pins     *pin.Directory // nil where nothing is kept for the next agent
	changes  *changes       // nil where the kernel or the agent's rights do not allow to see names
	answers  *answers       // nil where there is no sensor udp
	joints   *joints        // nil where the kernel cannot iterate descriptors
	readback *readback      // nil where neither tier of it can be had

	translations *translations // nil where the agent may not ask for them

	table     *process.Table
	workloads *workload.Resolver
	directory *workload.Directory
	sources   []workload.Source
	held      *hold
	networks  *netns.Book
	storage   *storage.Resolver
	writes    *footprint.Coalescer[writeKey, write]
	authors   *authors
	flows     *footprint.Coalescer[flowKey, flow]

	queue    *ship.Queue
	spool    *spool.Spool // nil where nothing outlives the process
	client   *ship.Client
	coverage []*spoorv1.Coverage
	lost     map[lossKey]uint64 // what is known to be lost
	losses   map[lossKey]uint64 // what of it was told already
	toldFull time.Time          // when losses of the queue were told last
	metrics  *metrics
	state    atomic.Pointer[state]
}

// New checks the kernel, loads the sensors and attaches them. Run must follow, also to release them.
func New(o Options) (*Agent, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := kernel.Check(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a := &Agent{o: o, losses: map[lossKey]uint64{}}
	if err := a.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), a.close(), a.closeSpool())
	}
	return a, nil
}

func (a *Agent) build() error {
	bootID, err := kernel.BootID()
	if err != nil {
		return err
	}
	if a.clock, err = kernel.NewClock(); err != nil {
		return err
	}
	if err := a.openNames(bootID); err != nil {
		return err
	}
	if a.storage, err = storage.New(); err != nil {
		return err
	}
	host, _ := a.storage.Host()
	if a.networks, err = netns.NewBook(host); err != nil {
		return err
	}
	a.table, err = process.NewTable(process.Options{
		BootID: bootID, Instances: a.workloads, Clock: a.clock, Sink: a, Size: a.o.Processes,
	})
	if err != nil {
		return err
	}
	if a.writes, err = newWrites(a.o.Footprint); err != nil {
		return err
	}
	if a.authors, err = newAuthors(a.o.Footprint); err != nil {
		return err
	}
	if a.flows, err = newFlows(a.o.Footprint); err != nil {
		return err
	}
	release, machine := kernel.Release()
	hello := &spoorv1.Hello{
		Cluster: a.o.Cluster, Node: a.o.Node, BootId: bootID, Epoch: strings.ToLower(rand.Text()),
		StartTime: timestamppb.Now(), Version: a.o.Version, KernelRelease: release, Architecture: machine,
	}
	if err := a.openQueue(hello); err != nil {
		return err
	}
	a.client = ship.NewClient(ship.Options{URL: a.o.CollectorURL, TLS: a.o.TLS, Queue: a.queue, Logger: a.o.Logger, Hello: hello})
	if err := a.open(); err != nil {
		return err
	}
	a.publish()
	a.metrics = newMetrics(a)
	return a.o.Registerer.Register(a.metrics)
}

// open loads the sensors: processes first, so that whoever writes or calls later is known.
func (a *Agent) open() error {
	var err error
	// First: who has the pins is the only agent.
	if err := a.openPins(); err != nil {
		return err
	}
	// Before the processes: each of those that run already shows its mounts.
	names := a.openChanges()
	a.tellGap()
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

func (a *Agent) openFile() error {
	c := fileCoverage()
	a.coverage = append(a.coverage, processCoverage(), c)
	if a.without(c) {
		return nil
	}
	var err error
	a.file, err = sensor.OpenFile(sensor.FileOptions{Facts: a.o.FileFacts, NameRing: a.o.NameRingBytes, Pins: a.pins})
	return err
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

// Coverage says what each sensor can see.
func (a *Agent) Coverage() []*spoorv1.Coverage { return a.coverage }

// Run observes until ctx ends, then brings what it still has to the collector, for as long as Options.DrainTimeout.
func (a *Agent) Run(ctx context.Context) error {
	shipping, stopShipping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopShipping()
	var g errgroup.Group
	g.Go(func() error { return a.client.Run(shipping) })
	naming, stopNaming := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNaming()
	g.Go(func() error { return a.runNames(naming) })
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	var keeper errgroup.Group
	keeper.Go(func() error { return a.queue.Keep(keeping) })

	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	g.Go(func() error { return a.storage.Watch(watching) })

	err := a.observe(ctx)
	stopWatching() // before what it reads is closed
	errs := []error{err, a.finish()}
	stopNaming()

	drain, cancel := context.WithTimeout(shipping, a.o.DrainTimeout)
	defer cancel()
	errs = append(errs, a.client.Drain(drain))
	stopShipping()
	errs = append(errs, g.Wait())
	stopKeeping() // last: what has not arrived is in the spool then
	errs = append(errs, keeper.Wait())
	a.o.Registerer.Unregister(a.metrics)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

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

func (a *Agent) close() error {
	var errs []error
	if a.changes != nil {
		errs = append(errs, a.changes.names.Close())
	}
	if a.readback != nil {
		errs = append(errs, a.readback.sensor.Close())
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

// add queues one record, at once or when its instance has a name.
func (a *Agent) add(t time.Time, p *spoorv1.Process, in *workload.Instance, r *spoorv1.Record) {
	r.TimeUnixNano = uint64(t.UnixNano())
	if in == nil {
		in = a.workloads.Host()
	}
	if in.Elsewhere() { // another agent's
		return
	}
	if !in.Pending() {
		a.send(in, p, r)
		return
	}
	if oldest := a.held.add(in, p, r); oldest != nil {
		a.workloads.GiveUp(oldest)
		a.held.release(a.send)
	}
}

// apply takes one event of the process sensor.
func (a *Agent) apply(ev *sensor.ProcessEvent) {
	if ev.Cause == sensor.CgroupMade { // perhaps that of a container, whose root file system is mounted by now
		a.storage.Look()
	}
	a.table.Apply(ev)
}

// Start implements process.Sink.
func (a *Agent) Start(p *process.Process, cause spoorv1.ProcessStart_Cause, when uint64) {
	if cause == spoorv1.ProcessStart_CAUSE_EXEC {
		a.storage.Enter(p.Proto.GetMntNs(), p.Who.Tgid)
	}
	a.enterNetwork(p)
	a.changes.enter(p)
	a.readback.enter(p)
	a.add(a.clock.Time(when), p.Proto, p.Instance, &spoorv1.Record{
		Fact: &spoorv1.Record_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: cause}},
	})
}

// Exit implements process.Sink. status is as wait(2) has it.
func (a *Agent) Exit(p *process.Process, status uint32, when uint64) {
	a.readback.leave(p)
	a.add(a.clock.Time(when), p.Proto, p.Instance, &spoorv1.Record{
		Fact: &spoorv1.Record_ProcessExit{ProcessExit: &spoorv1.ProcessExit{ExitCode: status >> 8 & 0xff, Signal: status & 0x7f}},
	})
}
