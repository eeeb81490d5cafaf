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
	a.authors = newAuthors(min(rememberedAuthors, a.o.Footprint))
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
