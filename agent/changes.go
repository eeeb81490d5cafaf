// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"hash/maphash"
	"path"
	"time"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/footprint"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/recent"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/storage"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// So many changes of one kind by one process in one directory are told one by one; when there are more within this time,
	// the rest is summed up.
	maxSingles = 64
	singlesPer = time.Second
	// Processes in directories whose changes are counted. One that is forgotten may tell maxSingles again.
	rememberedBursts = 8192
	// Files that went or were renamed of late: what is still to be told of them is told within a minute.
	rememberedMoves = 16384
	movesAge        = 2 * time.Minute
	movedPaths      = 8 << 20 // bytes of where they went
	// Files that were told of, and those of which is known who wrote them.
	rememberedFiles = 32768
)

// changeKey is what changes of names are summed up by. Of paths, which may have 4 KiB, it has hashes.
type changeKey struct {
	who sensor.Who
	dev uint32
	dir uint64 // of its path
	op  sensor.NameOp
}

type change struct {
	sensor.NameChange
	process *process.Process // nil when nobody knows
	more    uint32           // changes that it stands for, but itself
}

// burst counts what was told one by one.
type burst struct {
	since time.Time
	told  int
}

var errTierBase = errors.New("the base tier was asked for")

// names is a tier of the names sensor.
type names interface {
	Read(fn func(*sensor.NameChange)) error
	// Enter tells of a process in a mount namespace.
	Enter(mntNS, tgid uint32)
	Losses() ([]sensor.Loss, error)
	Close() error
}

// changes keeps what happens to names until it is told.
type changes struct {
	names  names
	exact  *sensor.ExactNames   // names, in the full tier
	read   []change             // in this turn
	made   map[sensor.Inode]int // where in read a file was made
	seed   maphash.Seed         // of the hashes in changeKey
	bursts *recent.Map[changeKey, *burst]
	merged *footprint.Coalescer[changeKey, change]
	// Inodes that an event told of. Whoever was told of a file is told of its end.
	told *recent.Map[sensor.Inode, struct{}]
	// Inodes whose last name is gone.
	gone *recent.Map[sensor.Inode, struct{}]
	// Where files went, as paths within their file systems.
	moved *recent.Map[sensor.Inode, string]
	// Inodes whose content somebody is known to have changed, and new files that may have some nobody has seen.
	written *recent.Map[sensor.Inode, struct{}]
	young   []change
	// Changes by a process that is in no table.
	unknown uint64
}

// openChanges prepares to observe names.
func openChanges(remembered int) (*changes, error) {
	files, moves := min(rememberedFiles, remembered), min(rememberedMoves, remembered)
	c := &changes{
		made:    map[sensor.Inode]int{},
		seed:    maphash.MakeSeed(),
		bursts:  recent.New[changeKey, *burst](rememberedBursts, movesAge),
		told:    recent.New[sensor.Inode, struct{}](files, 0),
		written: recent.New[sensor.Inode, struct{}](files, 0),
		gone:    recent.New[sensor.Inode, struct{}](moves, movesAge),
		moved:   recent.New[sensor.Inode, string](moves, movesAge).Weighing(movedPaths, func(_ sensor.Inode, to string) int { return len(to) }),
	}
	var err error
	c.merged, err = footprint.New[changeKey](footprint.Options[change]{
		Size: rememberedBursts, Min: minPause, Max: maxPause,
		Bytes: waitingPaths, Weigh: func(ch *change) int { return len(ch.Path) + len(ch.Target) },
		Merge: func(into *change, later change) {
			later.more += into.more + 1
			*into = later
		},
	})
	return c, err
}

func (a *Agent) mountsOf(tgid uint32) ([]sensor.Mount, error) {
	mounts, err := a.storage.ReadMounts(tgid)
	if err != nil {
		return nil, err
	}
	out := make([]sensor.Mount, len(mounts))
	for i, m := range mounts {
		out[i] = sensor.Mount{
			ID: m.ID, Dev: m.Dev, Root: m.Root, Point: m.Point, FSType: m.FSType, Writable: m.Writable, WorkDir: m.WorkDir,
		}
	}
	return out, nil
}

// enter makes file systems known that are mounted only in the namespace of a process.
func (c *changes) enter(p *process.Process) {
	if c != nil {
		c.names.Enter(p.Proto.GetMntNs(), p.Who.Tgid)
	}
}

// begin forgets what happened before the processes were known, unless an earlier agent's programs saw it, and who did it.
func (c *changes) begin() error {
	if c == nil {
		return nil
	}
	if c.exact != nil {
		if err := c.exact.Inherited(c.take); err != nil || c.exact.Watched() {
			return err
		}
	}
	return c.names.Read(func(*sensor.NameChange) {})
}

// fetch takes what happened until now from the sensor. Process events are to be read after it.
func (c *changes) fetch() error {
	if c == nil {
		return nil
	}
	return c.names.Read(c.take)
}

func (c *changes) take(n *sensor.NameChange) {
	if n.Op == sensor.NameCreated && n.Inode.Number != 0 {
		c.made[n.Inode] = len(c.read)
	}
	c.read = append(c.read, change{NameChange: *n})
}

// wrote notes a write of this turn: a file was made before it was first written. Changes of names have no time of their own
// but the moment when they were read.
func (c *changes) wrote(w *sensor.Write) {
	if c == nil {
		return
	}
	if w.Data {
		c.written.Put(w.Inode, struct{}{})
	}
	if i, ok := c.made[w.Inode]; ok {
		c.read[i].Before = min(c.read[i].Before, w.First)
	}
}

// isGone says whether an inode is known to have lost its last name.
func (c *changes) isGone(i sensor.Inode) bool { return c != nil && c.gone.Has(i) }

// movedTo returns the latest name that a file is known to have got, within its file system; "" when there is none.
func (c *changes) movedTo(i sensor.Inode) string {
	if c == nil {
		return ""
	}
	to, _ := c.moved.Get(i)
	return to
}

// isTold notes that an event is about an inode.
func (c *changes) isTold(i sensor.Inode) {
	if c != nil && i.Number != 0 {
		c.told.Put(i, struct{}{})
	}
}

// tellChanges tells of the changes of this turn, and of sums that are due: of all of them when the agent stops.
func (a *Agent) tellChanges(now time.Time, all bool) {
	c := a.changes
	if c == nil {
		return
	}
	for i := range c.read {
		a.addChange(now, &c.read[i])
	}
	c.read = buffer.Cut(c.read, 0) // it holds paths
	c.made = buffer.Emptied(c.made)
	a.addUnseen(now, all)
	urgent := func(k changeKey) bool { return a.ended(k.who) }
	if all {
		urgent = nil
	}
	for _, sum := range c.merged.Due(now, urgent) {
		a.tellChange(&sum)
	}
}

// addChange tells of a change at once, or adds it to a sum.
func (a *Agent) addChange(now time.Time, ch *change) {
	c := a.changes
	switch {
	case ch.Who != (sensor.Who{}):
		ch.process = a.table.Get(ch.Who, ch.CgroupID)
		a.table.Moved(ch.process, ch.CgroupID)
	case ch.Tgid != 0:
		ch.process = a.table.ByTgid(ch.Tgid, ch.Before)
	}
	key := changeKey{who: sensor.Who{Tgid: ch.Tgid}, dev: ch.Inode.Dev, dir: maphash.String(c.seed, path.Dir(ch.Path+ch.Target)), op: ch.Op}
	if ch.process != nil {
		key.who = ch.process.Who
		a.storage.Learn(ch.mntNS(), ch.Tgid) // while the process lives
	} else {
		c.unknown++
	}
	if ch.Op == sensor.NameRemoved && ch.Last {
		c.gone.Put(ch.Inode, struct{}{})
		a.readback.forget(ch.Inode)
	}
	if ch.Target != "" && !ch.TargetCut && !ch.Directory && ch.Inode.Number != 0 {
		c.moved.Put(ch.Inode, ch.Target)
	}
	if c.alone(now, key, ch) {
		a.tellChange(ch)
		if ch.isBlind() {
			c.young = append(c.young, *ch)
		}
	} else {
		c.merged.Add(now, key, *ch)
	}
}

// mntNS is the mount namespace of whoever did it, who is known.
func (ch *change) mntNS() uint32 {
	if ch.MntNS != 0 {
		return ch.MntNS
	}
	return ch.process.Proto.GetMntNs()
}

// alone says whether a change is told by an event of its own.
func (c *changes) alone(now time.Time, key changeKey, ch *change) bool {
	switch ch.Op {
	case sensor.NameRenamed:
		if ch.Directory || c.told.Has(ch.Inode) {
			return true
		}
	case sensor.NameRemoved, sensor.NameLinked:
		if c.told.Has(ch.Inode) {
			return true
		}
	}
	b, ok := c.bursts.Get(key)
	if !ok {
		b = &burst{since: now}
		c.bursts.Put(key, b)
	}
	if now.Sub(b.since) >= singlesPer {
		b.since, b.told = now, 0
	}
	b.told++
	return b.told <= maxSingles
}

func (a *Agent) tellChange(ch *change) {
	var mntNS uint32
	var p *spoorv1.Process
	in := a.workloads.Host()
	if ch.process != nil {
		mntNS, p, in = ch.mntNS(), ch.process.Proto, ch.process.Instance
	}
	out := &spoorv1.FileChange{Operation: operationOf(ch.Op), Merged: ch.more}
	file, target := ch.Path, ch.Target
	if ch.PathCut {
		file = "" // its beginning is not known, so neither is where it lies
	}
	if ch.TargetCut {
		target = ""
	}
	place := a.storage.Locate(mntNS, ch.Tgid, ch.Inode.Dev, file)
	if target != "" {
		there := a.storage.Locate(mntNS, ch.Tgid, ch.Inode.Dev, target)
		target = seen(there, target)
		if file == "" {
			place.Class, place.FSType = there.Class, there.FSType
		}
	}
	file = seen(place, file)
	if ch.PathCut {
		file = ch.Path
	}
	if ch.TargetCut {
		target = ch.Target
	}
	f := &spoorv1.File{
		Dev: ch.Inode.Dev, Inode: ch.Inode.Number, Generation: ch.Inode.Generation, FsType: place.FSType, StorageClass: classFor(&place, in),
		PathTruncated: ch.PathCut, Unlinked: ch.Op == sensor.NameRemoved && ch.Last,
	}
	if f.FsType == "" {
		f.FsType = ch.FSType
	}
	if f.StorageClass == spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED { // who made it is gone, and so is what it saw mounted
		f.StorageClass = storage.ClassOf(f.FsType)
	}
	f.Path, f.PathRaw = exact(file)
	f.Volume = volumeOf(&place)
	if place.HostPath != file && !ch.PathCut {
		f.HostPath, _ = exact(place.HostPath)
	}
	out.File, out.TargetPathTruncated = f, ch.TargetCut
	out.TargetPath, out.TargetPathRaw = exact(target)
	if f.GetUnlinked() {
		a.changes.told.Remove(ch.Inode)
	} else {
		a.changes.isTold(ch.Inode)
	}
	a.add(a.clock.Time(ch.Before), p, in, &spoorv1.Record{Fact: &spoorv1.Record_FileChange{FileChange: out}})
}

// seen is the path as the process sees it, or the one within the file system when no mount shows it.
func seen(place storage.Place, within string) string {
	if place.Path != "" {
		return place.Path
	}
	return within
}

func operationOf(op sensor.NameOp) spoorv1.FileChange_Operation {
	switch op {
	case sensor.NameCreated:
		return spoorv1.FileChange_OPERATION_CREATE
	case sensor.NameLinked:
		return spoorv1.FileChange_OPERATION_LINK
	case sensor.NameRenamed:
		return spoorv1.FileChange_OPERATION_RENAME
	case sensor.NameRemoved:
		return spoorv1.FileChange_OPERATION_UNLINK
	case sensor.AttributesChanged:
		return spoorv1.FileChange_OPERATION_ATTRIBUTES
	default:
		return spoorv1.FileChange_OPERATION_UNSPECIFIED
	}
}
