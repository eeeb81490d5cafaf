// SPDX-License-Identifier: Apache-2.0

// Package process keeps who runs on the node: the image behind every fact, and the chain of images that led to it.
//
// It decides which images are worth telling: a fork that only lives to exec is not an image of its own.
package process

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// How long a fork may live without being told, in the hope that it execs.
	forkGrace = 2 * time.Second
	// How long an image that ended is remembered, unless it left sockets behind: facts of it come for some seconds more.
	endedGrace = 2 * time.Minute
	// How many images that ended are remembered, and as many more that left sockets behind. More than these end in that time on busy nodes only, and even at 2,000 a second each
	// is known for four readings of the sensors.
	maxEnded = 4096
)

// Process is one image.
type Process struct {
	Who sensor.Who
	// What the wire carries; filled when the image begins and not changed afterwards.
	Proto    *spoorv1.Process
	Instance *workload.Instance

	cgroup    uint64
	kernel    bool
	parent    *Process
	fork      bool // it has not executed anything of its own
	announced bool
	ended     bool
	texts     *texts
	sockets   bool // which others may have inherited, and use for hours
	time      uint64
}

// Ended reports whether the image exited or was replaced by another.
func (p *Process) Ended() bool { return p.ended }

// HasSockets says that the image made sockets, whose facts may come when it has long ended.
func (p *Process) HasSockets() { p.sockets = true }

// Sink takes what is to be told, in order.
type Sink interface {
	Start(p *Process, cause spoorv1.ProcessStart_Cause, when uint64)
	Exit(p *Process, status uint32, when uint64)
}

// Instances names the instance of a cgroup.
type Instances interface {
	Of(cgroupID uint64, tgid uint32, kernelThread bool) *workload.Instance
	Learn(cgroupID uint64, path string, start time.Time)
}

// Clock converts nanoseconds since boot.
type Clock interface{ Time(ns uint64) time.Time }

// Options of a Table.
type Options struct {
	BootID    string
	Instances Instances
	Clock     Clock
	Sink      Sink
	// How many images are remembered; living ones are among them, so this bounds the processes of the node too.
	Size int
}

// Table knows every image. It is not safe for concurrent use.
type Table struct {
	o       Options
	all     *lru.LRU[sensor.Who, *Process]
	newest  map[uint32]*Process // of those in all, by tgid
	forks   []*Process          // not told yet, oldest first
	past    []past              // oldest first
	left    []sensor.Who        // of those longer ago, who left sockets behind
	evicted uint64
	hurried uint64
	// Bytes of the texts of images, all and of each instance; and how often some were cut for want of room.
	maxTexts, texts int
	textsOf         map[*workload.Instance]int
	shortened       uint64
}

// past is an image that ended, and when that was known, in nanoseconds since boot.
type past struct {
	who  sensor.Who
	when uint64
}

// NewTable returns an empty table.
func NewTable(o Options) (*Table, error) {
	if o.Size == 0 {
		o.Size = 65536
	}
	t := &Table{o: o, newest: map[uint32]*Process{}, maxTexts: maxTexts, textsOf: map[*workload.Instance]int{}}
	var err error
	t.all, err = lru.NewLRU(o.Size, func(_ sensor.Who, p *Process) {
		if !p.ended {
			t.evicted++
		}
		t.release(p)
		if t.newest[p.Who.Tgid] == p {
			delete(t.newest, p.Who.Tgid)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("process table: %w", err)
	}
	return t, nil
}

// Evicted returns how many living images were forgotten for want of room.
func (t *Table) Evicted() uint64 { return t.evicted }

// Hurried returns how many images that ended were forgotten before their time, because so many ended.
func (t *Table) Hurried() uint64 { return t.hurried }

// Shortened returns how many images have not all of their texts, for want of room.
func (t *Table) Shortened() uint64 { return t.shortened }

// Len returns how many images are remembered.
func (t *Table) Len() int { return t.all.Len() }

// Apply takes one event of the process sensor.
func (t *Table) Apply(ev *sensor.ProcessEvent) {
	switch ev.Cause {
	case sensor.CgroupMade:
		t.o.Instances.Learn(workload.Key(ev.HierarchyID, ev.CgroupID), ev.CgroupPath, t.o.Clock.Time(ev.Time))
	case sensor.Fork:
		t.applyFork(ev)
	case sensor.Exec:
		t.applyExec(ev)
	case sensor.Exit:
		t.applyExit(ev)
	case sensor.Found:
		t.applyFound(ev)
	}
}

func (t *Table) applyFork(ev *sensor.ProcessEvent) {
	if _, known := t.all.Peek(ev.Who); known { // the iterator saw it first
		return
	}
	p := t.add(ev, t.parentOf(ev))
	p.fork = true
	if p.parent != nil { // a fork runs what its parent runs
		t.shareTexts(p, p.parent)
	}
	t.forks = append(t.forks, p)
}

func (t *Table) applyExec(ev *sensor.ProcessEvent) {
	if p, known := t.all.Peek(ev.Who); known { // the iterator saw it first, perhaps before its texts could be read
		t.setTexts(p, ev.Exe, ev.Cwd, ev.Args, ev.ArgsTruncated)
		return
	}
	before, ok := t.all.Peek(sensor.Who{StartBoottime: ev.Who.StartBoottime, Tgid: ev.Who.Tgid, ExecCount: ev.Who.ExecCount - 1})
	parent := before
	switch {
	case !ok:
		parent = t.parentOf(ev)
	case before.fork && !before.announced: // it lived to exec: never tell it
		parent = before.parent
		before.ended = true
		t.all.Remove(before.Who)
	default:
		t.end(before, ev.Time)
	}
	p := t.add(ev, parent)
	t.setTexts(p, ev.Exe, ev.Cwd, ev.Args, ev.ArgsTruncated)
	t.announce(p, spoorv1.ProcessStart_CAUSE_EXEC)
}

func (t *Table) applyExit(ev *sensor.ProcessEvent) {
	p, ok := t.all.Get(ev.Who)
	if !ok {
		p = t.add(ev, t.parentOf(ev))
	}
	if p.ended {
		return
	}
	t.Moved(p, ev.CgroupID)
	t.Announce(p)
	t.end(p, ev.Time)
	t.o.Sink.Exit(p, ev.Status, ev.Time)
}

func (t *Table) applyFound(ev *sensor.ProcessEvent) {
	if _, known := t.all.Get(ev.Who); known {
		return
	}
	p := t.add(ev, t.parentOf(ev))
	p.Proto.Preexisting = true
	t.readTexts(p)
	t.announce(p, spoorv1.ProcessStart_CAUSE_FOUND)
}

// Get returns the image behind a fact. One that nobody told of is made up from what the fact and /proc say.
func (t *Table) Get(who sensor.Who, cgroupID uint64) *Process {
	p, ok := t.all.Get(who)
	if !ok {
		p = t.add(&sensor.ProcessEvent{Who: who, CgroupID: cgroupID, Time: who.StartBoottime}, nil)
		p.Proto.Preexisting = true
		t.readTexts(p)
	}
	t.Announce(p)
	return p
}

// Moved says that a fact of p came from this cgroup: a process may change it without an exec. The facts of sockets do not
// say that: they tell of the cgroup in which the socket was made.
func (t *Table) Moved(p *Process, cgroupID uint64) {
	if cgroupID == p.cgroup || cgroupID == 0 || p.kernel {
		return
	}
	p.cgroup = cgroupID
	p.Instance = t.o.Instances.Of(cgroupID, p.Who.Tgid, false)
}

// Announce tells of p, and of those it descends from, unless that was done.
func (t *Table) Announce(p *Process) {
	cause := spoorv1.ProcessStart_CAUSE_FOUND
	if p.fork {
		cause = spoorv1.ProcessStart_CAUSE_FORK
	}
	t.announce(p, cause)
}

func (t *Table) announce(p *Process, cause spoorv1.ProcessStart_Cause) {
	if p.announced {
		return
	}
	p.announced = true // first: a chain of forks is told from its root, and cannot loop
	if p.parent != nil {
		t.Announce(p.parent)
	}
	t.o.Sink.Start(p, cause, p.time)
	p.parent = nil // told: its id stands in the Proto, and the chain need not be held in memory
}

func (t *Table) end(p *Process, when uint64) {
	p.ended = true
	t.past = append(t.past, past{p.Who, when})
}

// Tick tells of the forks that did not exec within the grace, and forgets what ended long ago; now is in nanoseconds since
// boot.
func (t *Table) Tick(now uint64) {
	t.tellForks(now)
	room := min(maxEnded, t.o.Size)
	for len(t.past) > 0 && (t.past[0].when+uint64(endedGrace) <= now || len(t.past) > room) {
		if t.past[0].when+uint64(endedGrace) > now {
			t.hurried++
		}
		p, ok := t.all.Peek(t.past[0].who)
		switch {
		case ok && p.sockets:
			t.left = append(t.left, p.Who)
		case ok:
			t.all.Remove(p.Who)
		}
		t.past = t.past[1:]
	}
	for ; len(t.left) > room; t.left = t.left[1:] {
		if t.all.Remove(t.left[0]) {
			t.hurried++
		}
	}
}

func (t *Table) tellForks(now uint64) {
	for len(t.forks) > 0 {
		p := t.forks[0]
		if !p.announced && !p.ended && p.time+uint64(forkGrace) > now {
			return
		}
		if !p.ended {
			t.Announce(p)
		}
		t.forks[0] = nil
		t.forks = t.forks[1:]
	}
	t.forks = nil
}

func (t *Table) parentOf(ev *sensor.ProcessEvent) *Process {
	if ev.Parent.Tgid == 0 { // the idle task, parent of init and kthreadd
		return nil
	}
	if p, ok := t.all.Get(ev.Parent); ok {
		return p
	}
	return nil
}

func (t *Table) add(ev *sensor.ProcessEvent, parent *Process) *Process {
	p := &Process{
		Who:      ev.Who,
		parent:   parent,
		time:     ev.Time,
		cgroup:   ev.CgroupID,
		kernel:   ev.KernelThread,
		Instance: t.o.Instances.Of(ev.CgroupID, ev.Who.Tgid, ev.KernelThread),
		Proto: &spoorv1.Process{
			ExecId:       t.ExecID(ev.Who),
			Tgid:         ev.Who.Tgid,
			ParentTgid:   ev.Parent.Tgid,
			Comm:         text(ev.Comm),
			Uid:          ev.UID,
			Gid:          ev.GID,
			StartTime:    timestamppb.New(t.o.Clock.Time(ev.Time)),
			PidNs:        ev.PidNS,
			MntNs:        ev.MntNS,
			NetNs:        ev.NetNS,
			CapEffective: ev.CapEffective,
		},
	}
	switch {
	case parent != nil:
		p.Proto.ParentExecId = parent.Proto.GetExecId()
	case ev.Parent.Tgid != 0:
		p.Proto.ParentExecId = t.ExecID(ev.Parent)
	}
	t.newest[p.Who.Tgid] = p
	t.all.Add(p.Who, p)
	return p
}

// ExecID returns the id under which the image is known everywhere: 80 bits of a hash, 16 base32 characters.
func (t *Table) ExecID(w sensor.Who) string {
	b := make([]byte, 0, 64)
	b = append(b, t.o.BootID...)
	b = binary.LittleEndian.AppendUint32(b, w.Tgid)
	b = binary.LittleEndian.AppendUint64(b, w.StartBoottime)
	b = binary.LittleEndian.AppendUint32(b, w.ExecCount)
	sum := sha256.Sum256(b)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// Knows reports whether the image is remembered.
func (t *Table) Knows(who sensor.Who) bool { return t.all.Contains(who) }

// Ended reports whether the image exited, was replaced or is not known.
func (t *Table) Ended(who sensor.Who) bool {
	p, ok := t.all.Peek(who)
	return !ok || p.ended
}
