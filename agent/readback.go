// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"container/list"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/recent"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// Pairs of a file and a reading instance that are remembered as told. One that is forgotten may be told before its hour is over.
	rememberedReadings = 8192
	// Instances that are remembered as seen.
	rememberedInstances = 4096
	// Readings that wait until the workload that wrote has a name.
	maxUnnamedReadings = 1024
)

// reader is a tier of the read-back sensor.
type reader interface {
	// Room is how many files may be watched at once.
	Room() int
	Watch(f *sensor.WatchedFile) error
	Forget(i sensor.Inode) error
	// Revive watches files again that were left alone because they are read so often.
	Revive()
	// Watched reports whether an earlier agent's programs have watched until now.
	Watched() bool
	// Keep forgets what an earlier agent named, unless wanted.
	Keep(wanted func(sensor.Inode) bool) error
	Read(fn func(*sensor.Reading)) error
	Losses() ([]sensor.Loss, error)
	Close() error
}

// writtenFile is a file as its last writer left it.
type writtenFile struct {
	instance *workload.Instance
	execID   string
	cgroup   uint64
	last     time.Time
	// Within its file system.
	path   string
	fsType string
	// Where the host sees it; "" when that is not known.
	hostPath string
	// What last was when it was noted for the next agent.
	noted time.Time
	// Where it is among those of its cgroup.
	place *list.Element
}

// foundFile is a reading, and the file as it was known before the writes of the same turn: who reads what another instance left, as
// state is, often writes, replaces or removes it at once.
type foundFile struct {
	sensor.Reading
	file *writtenFile
}

// readKey is a file in the hands of an instance that did not write it.
type readKey struct {
	inode    sensor.Inode
	instance string
}

// readback knows which instance wrote which file, for as long as nobody else writes it. What was written before the first agent started
// has no writer. The files that were written last are kept, as many as the sensor has room for, and noted for the next agent.
type readback struct {
	sensor reader
	notes  *sensor.Notes // nil where nothing is kept
	files  *writtenFiles
	told   reminder[readKey]
	// Instances, by their cgroups.
	seen *recent.Map[uint64, struct{}]
	// Processes that wrote files, and whether one ended since files were last looked at: what comes after it may read them.
	writers *lru.LRU[string, struct{}]
	ended   bool
	read    []foundFile // in this turn, and those that wait
	// Files that were given up for want of room, and readings by a process that is in no table.
	evicted, unknown uint64
	// Files to note for the next agent, when that was last done, how many could not be (their paths are too long), and notes that this agent
	// cannot read.
	due                 map[sensor.Inode]struct{}
	noted               time.Time
	unnoted, unreadable uint64
	err                 error
}

func newReadback(s reader, notes *sensor.Notes) (*readback, error) {
	r := &readback{
		sensor: s, notes: notes, due: map[sensor.Inode]struct{}{},
		told: newReminder[readKey](rememberedReadings), seen: recent.New[uint64, struct{}](rememberedInstances, 0),
	}
	var err error
	r.files, err = newWrittenFiles(s.Room(), func(i sensor.Inode, f *writtenFile) {
		r.fail(s.Forget(i))
		delete(r.due, i)
		if !f.noted.IsZero() {
			r.fail(notes.Delete(i))
		}
	})
	if err != nil {
		return nil, err
	}
	if r.writers, err = lru.NewLRU[string, struct{}](rememberedInstances, nil); err != nil {
		return nil, fmt.Errorf("remember who writes: %w", err)
	}
	return r, nil
}

// fail keeps the first error for the next turn.
func (r *readback) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *readback) close() error {
	r.noteDue(len(r.due))
	return errors.Join(r.sensor.Close(), r.notes.Close())
}

// openReadback opens the best tier of the read-back sensor, and says what it cannot see; or that there is none.
func (a *Agent) openReadback() *spoorv1.Coverage {
	c := &spoorv1.Coverage{Sensor: "readback", Tier: "off"}
	if a.without(c) {
		return c
	}
	if a.file == nil {
		c.Reason = "readings of what others wrote are not seen: it needs the sensor file"
		return c
	}
	s, reason, err := a.openReader(c)
	if err == nil {
		err = a.recall(s)
	}
	if err != nil {
		c.Tier, c.Reason = "off", "readings of what others wrote are not seen: "+err.Error()
		return c
	}
	if !s.Watched() {
		a.tellGap("readback")
	}
	c.Reason = reason + "; not what was written before the first agent started, nor by sessions and what belongs to no workload"
	return c
}

// recall takes over what the agent before this one knew.
func (a *Agent) recall(s reader) error {
	notes, err := sensor.OpenNotes(a.pins)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if a.readback, err = newReadback(s, notes); err == nil {
		err = a.readback.recall(a.storage.Root())
	}
	if err != nil {
		a.readback = nil
		return errors.Join(err, s.Close(), notes.Close())
	}
	return nil
}

func (a *Agent) openReader(c *spoorv1.Coverage) (reader, string, error) {
	why := a.mayFull()
	if why == nil {
		var full *sensor.Readback
		if full, why = sensor.OpenReadback(a.pins); why == nil {
			c.Tier = "full"
			return full, "sees an instance open for reading what another one wrote", nil
		}
	}
	base, err := sensor.OpenMarkedReadback()
	if err != nil {
		return nil, "", fmt.Errorf("%w; nor in the full tier: %w", err, why)
	}
	c.Tier = "base"
	return base, "sees an instance read what another one wrote, half a second later at the earliest; not through an overlay; of a file that " +
		"its own writer reads all the time, only now and then; not in the full tier: " + why.Error(), nil
}

// enter notes a process of an instance that may be a new one.
func (r *readback) enter(p *process.Process) {
	if r == nil {
		return
	}
	id := p.Instance.Proto().GetCgroupId()
	if r.seen.Has(id) {
		return
	}
	r.seen.Put(id, struct{}{})
	r.sensor.Revive()
}

// leave notes a process that ended.
func (r *readback) leave(p *process.Process) {
	if r != nil && r.writers.Remove(p.Proto.GetExecId()) {
		r.ended = true
	}
}

// forget ends what is known of a file that is gone.
func (r *readback) forget(i sensor.Inode) {
	if r != nil {
		r.files.all.Remove(i)
	}
}

// fetch takes what was read until now. Facts about writes, and process events, are to be read after it.
func (r *readback) fetch() error {
	if r == nil {
		return nil
	}
	if r.err != nil {
		return r.err
	}
	if r.ended {
		r.ended = false
		r.sensor.Revive()
	}
	return r.sensor.Read(func(reading *sensor.Reading) {
		file, _ := r.files.all.Peek(reading.Inode)
		r.read = append(r.read, foundFile{*reading, file})
	})
}

// programs are below these on a host: whoever installs them writes what everybody reads.
var programs = []string{"/usr/", "/lib", "/bin/", "/sbin/", "/boot/"}

// carriesState says whether a file that was written may be what somebody relies on later.
func carriesState(f *spoorv1.File) bool {
	switch f.GetStorageClass() {
	case spoorv1.StorageClass_STORAGE_CLASS_CONFIG:
		return false
	case spoorv1.StorageClass_STORAGE_CLASS_HOST:
		for _, dir := range programs {
			if strings.HasPrefix(f.GetPath(), dir) {
				return false
			}
		}
	}
	return !f.GetUnlinked() && f.GetInode() != 0
}

// isService says whether a workload is one whose instances come and go by themselves: not people, nor what belongs to none.
func isService(in *workload.Instance) bool {
	switch in.Proto().GetWorkload().GetKind() {
	case "Session", "Host", "Kernel":
		return false
	default:
		return true
	}
}

// noteWrite notes a write that was told as f, of a file that the host sees at hostPath.
func (a *Agent) noteWrite(w *write, f *spoorv1.File, hostPath string) {
	r := a.readback
	if r == nil {
		return
	}
	if f.GetUnlinked() {
		r.forget(w.Inode)
		return
	}
	if !w.Data || !carriesState(f) || !isService(w.process.Instance) {
		return
	}
	now := &writtenFile{
		instance: w.process.Instance, execID: w.process.Proto.GetExecId(), cgroup: w.CgroupID, last: a.clock.Time(w.Last),
		path: w.Path, fsType: f.GetFsType(), hostPath: hostPath,
	}
	before, known := r.files.all.Get(w.Inode)
	if known && before.last.After(now.last) { // told late
		return
	}
	r.evicted += r.files.put(w.Inode, now)
	r.writers.Add(now.execID, struct{}{})
	same := known && before.cgroup == now.cgroup
	if same {
		now.noted = before.noted
	}
	r.dueNote(w.Inode, now)
	if !same {
		r.fail(r.sensor.Watch(now.watched(w.Inode, a.storage.Root())))
	}
}

// tellReadings tells of what was read, once for each file and reading instance in a while.
func (a *Agent) tellReadings(now time.Time) {
	r := a.readback
	if r == nil {
		return
	}
	r.noteSome(now)
	waiting := r.read[:0]
	for _, reading := range r.read {
		if !a.tellReading(now, &reading) && len(waiting) < maxUnnamedReadings {
			waiting = append(waiting, reading)
		}
	}
	r.read = buffer.Cut(r.read, len(waiting))
}

// tellReading reports false when it is to be asked again, since the writer has no name yet.
func (a *Agent) tellReading(now time.Time, reading *foundFile) bool {
	r := a.readback
	current, known := r.files.all.Get(reading.Inode)
	file := reading.file
	if file == nil { // first written in this turn
		if file = current; !known {
			return true
		}
	}
	p := a.readerOf(&reading.Reading)
	if p == nil {
		r.unknown++
		return true
	}
	if known && sameInstance(current.instance, p.Instance) && current.execID != p.Proto.GetExecId() {
		// Another process of the instance wrote, perhaps before this one read: then it read what is new.
		return true
	}
	if sameInstance(p.Instance, file.instance) || p.Instance.Proto().GetWorkload().GetKind() == "Kernel" {
		return true
	}
	if file.instance.Pending() {
		return false
	}
	if !isService(file.instance) {
		return true
	}
	if !r.told.due(now, readKey{reading.Inode, p.Instance.Proto().GetId()}) {
		return true
	}
	writer := file.instance.Proto()
	a.add(a.clock.Time(reading.First), p.Proto, p.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Share{Share: &spoorv1.Share{
		Kind: spoorv1.Share_KIND_FILE, Access: spoorv1.Share_ACCESS_READ, File: a.fileAsRead(&reading.Reading, file, p),
		Other: writer.GetWorkload(), OtherInstance: writer.GetId(), OtherExecId: file.execID, Written: timestamppb.New(file.last),
	}}})
	return true
}

// sameInstance compares what may be known from an earlier agent.
func sameInstance(a, b *workload.Instance) bool {
	return a == b || a.Proto().GetId() == b.Proto().GetId()
}

func (a *Agent) readerOf(reading *sensor.Reading) *process.Process {
	if reading.Who == (sensor.Who{}) {
		return a.table.ByTgid(reading.Tgid, reading.Last)
	}
	p := a.table.Get(reading.Who, reading.CgroupID)
	a.table.Moved(p, reading.CgroupID)
	return p
}

// fileAsRead is the file as its reader sees it.
func (a *Agent) fileAsRead(reading *sensor.Reading, file *writtenFile, p *process.Process) *spoorv1.File {
	ns := reading.MntNS
	if ns == 0 {
		ns = p.Proto.GetMntNs()
	}
	a.storage.Learn(ns, p.Who.Tgid)
	path := file.path
	if to := a.changes.movedTo(reading.Inode); to != "" {
		path = to
	}
	place := a.storage.Locate(ns, p.Who.Tgid, reading.Inode.Dev, path)
	f := &spoorv1.File{
		Dev: reading.Inode.Dev, Inode: reading.Inode.Number, Generation: reading.Inode.Generation,
		FsType: place.FSType, StorageClass: classFor(&place, p.Instance),
	}
	if f.GetFsType() == "" {
		f.FsType = file.fsType
	}
	f.Path, f.PathRaw = exact(seen(place, path))
	f.Volume = volumeOf(&place)
	if place.HostPath != f.GetPath() {
		f.HostPath, _ = exact(place.HostPath)
	}
	return f
}

// len is how many files are remembered.
func (r *readback) len() int {
	if r == nil {
		return 0
	}
	return r.files.all.Len()
}

// forgotten is how many files were given up for want of room.
func (r *readback) forgotten() uint64 {
	if r == nil {
		return 0
	}
	return r.evicted
}

// losses are those of the sensor and of what the agent keeps.
func (r *readback) losses() ([]sensor.Loss, error) {
	all, err := r.sensor.Losses()
	return append(all,
		sensor.Loss{Reason: "unknown_process", Count: r.unknown},
		sensor.Loss{Reason: "not_kept", Count: r.unnoted},
		sensor.Loss{Reason: "kept_unreadable", Count: r.unreadable},
	), err
}
