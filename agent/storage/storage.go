// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/spoor/spoor/agent/hostfs"
	"github.com/spoor/spoor/agent/kernel"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// How many mount namespaces are remembered.
	rememberedNamespaces = 4096
	// How long a mount table is believed while the mounts may change.
	mountsAge = 2 * time.Second
	// Bytes of a table that are read again after that. Larger ones are believed for longer in proportion, up to the most.
	mountsBytes  = 256 << 10
	mountsOldest = time.Minute
	// Bytes of a table that are read at most: of the host's, and of another namespace's, or twice what the host's has if that is more. Anybody may have a
	// namespace of his own, and a hundred thousand mounts in it.
	maxHostMounts = 64 << 20
	maxOwnMounts  = 1 << 20
	// And what all tables but the host's may take in memory, about.
	maxTables = 64 << 20
	// How long the table of a namespace is kept that nobody is known to be in any more.
	tableGrace = 30 * time.Second
)

// Place is what is known of a file's whereabouts.
type Place struct {
	// As processes of the namespace see it. "" when no mount shows it there.
	Path string
	// As the host sees it. "" when no mount shows it there.
	HostPath string
	Class    spoorv1.StorageClass
	FSType   string
	Volume   Volume
	// What the process has mounted is not known, or was read before its program began: a folder of the node in a container may be one of a
	// service that has a view of its own of the host.
	Guessed bool
}

// Resolver finds the place of files. It is not safe for concurrent use.
type Resolver struct {
	root     string // of the host's file system, as the agent sees it
	hostProc uint32
	hostNS   uint32
	// Bytes of its mount table.
	hostBytes atomic.Int64
	tables    *lru.LRU[uint32, *table]
	layers    *layers // shared with Watch
	driven    *driven
	kubelets  []string // the folders in which they keep pods
	watch     *watch   // of the host's mounts; nil where they are not watched
	now       func() time.Time
}

type table struct {
	mounts []Mount
	bytes  int // that it takes, about
	read   time.Time
	used   time.Time
	// Processes that it was read from: the first and the latest.
	first, latest uint32
	// Those that are known to be, or to have been, in the namespace: the last few.
	members []uint32
	// That of another namespace which had the same number until now: what was done there may be told yet.
	before *table
	// A program began there, and it was read after that: what a runtime does before is over.
	entered, settled bool
}

// How many members of a namespace are remembered.
const maxMembers = 8

func (t *table) note(tgid uint32) {
	if slices.Contains(t.members, tgid) {
		return
	}
	if len(t.members) == maxMembers {
		t.members = slices.Delete(t.members, 0, 1)
	}
	t.members = append(t.members, tgid)
}

// New returns a Resolver that takes the host's view from the first process that lets it: init; the kernel's own
// kthreadd, where init has more capabilities than the agent; or, in a pid namespace of its own, the agent.
func New() (*Resolver, error) {
	const initTgid, kthreadd = 1, 2
	var hostProc, ns uint32
	for _, tgid := range []uint32{initTgid, kthreadd, uint32(os.Getpid())} { //nolint:gosec // pids are positive
		if ns = namespaceOf(tgid); ns != 0 {
			hostProc = tgid
			break
		}
	}
	if ns == 0 {
		return nil, errors.New("find the host's mount namespace: /proc/1/ns/mnt, /proc/2/ns/mnt and the agent's own cannot be read; " +
			"is /proc mounted, and has the agent CAP_SYS_PTRACE?")
	}
	tables, err := lru.NewLRU[uint32, *table](rememberedNamespaces, nil)
	if err != nil {
		return nil, fmt.Errorf("remember mount namespaces: %w", err)
	}
	root := fmt.Sprintf("/proc/%d/root", hostProc)
	r := &Resolver{
		root: root, hostProc: hostProc, hostNS: ns, tables: tables, layers: newLayers(), driven: newDriven(root), now: time.Now,
	}
	mounts, err := r.ReadMounts(hostProc)
	if err != nil {
		return nil, err
	}
	r.watch = openWatch(hostProc)
	r.keep(r.hostNS, hostProc, mounts)
	return r, nil
}

// Close releases what New took.
func (r *Resolver) Close() error { return r.watch.close() }

// Host returns a process that has the host's view, and its mount namespace (the inode number).
func (r *Resolver) Host() (tgid, mntNS uint32) { return r.hostProc, r.hostNS }

// Root is a path under which this process reaches the host's files: "/" of the host is there.
func (r *Resolver) Root() string { return r.root }

// Learn reads the mounts of a namespace that is not known yet, while the process that is in it still runs.
func (r *Resolver) Learn(mntNS, tgid uint32) { r.mounts(mntNS, tgid) }

// Enter says that a program begins in a mount namespace: what was read of it before may be what its runtime had yet to change, or of
// another namespace that had the same number.
func (r *Resolver) Enter(mntNS, tgid uint32) {
	if mntNS == r.hostNS || mntNS == 0 {
		return
	}
	t, known := r.tables.Get(mntNS)
	var before *table
	if known && !t.inUse(mntNS) {
		r.tables.Remove(mntNS)
		before, known = t, false
		before.before = nil
	}
	if known && t.entered {
		t.note(tgid)
		return
	}
	if r.read(mntNS, tgid) {
		t, known = r.tables.Get(mntNS)
		t.settled, t.before = true, before
	}
	if known {
		t.entered = true
		t.note(tgid)
	}
}

// inUse reports whether one of the processes that the table was read from is in the namespace.
func (t *table) inUse(mntNS uint32) bool {
	return namespaceOf(t.first) == mntNS || namespaceOf(t.latest) == mntNS
}

// Look reads the host's mounts if they changed: what is mounted for a short time only is remembered.
func (r *Resolver) Look() { r.mounts(r.hostNS, r.hostProc) }

// Locate finds the file at path within the file system dev, for a process tgid in the mount namespace mntNS (its inode
// number). The path is "" when nobody knows it.
func (r *Resolver) Locate(mntNS, tgid, dev uint32, path string) Place {
	host := r.mounts(r.hostNS, r.hostProc)
	own, onHost := host, mntNS == r.hostNS || mntNS == 0
	var view *table
	if !onHost {
		if view = r.table(mntNS, tgid); view != nil {
			own = view.mounts
		} // else it ended before anybody looked: the host's view is the best that is left
	}
	var p Place
	if hostMount, seen, ok := find(host, dev, path); ok {
		p.HostPath, p.FSType = seen, hostMount.FSType
	}
	if path == "" {
		p.HostPath = ""
	}
	// A write through an overlay changes a file of its upper directory, on another device.
	if p.HostPath != "" {
		for _, m := range own {
			if m.UpperDir == "" {
				continue
			}
			if rest, ok := below(p.HostPath, m.UpperDir); ok && (onHost || m.Point == "/" || !r.layers.has(m.UpperDir)) {
				p.Path, p.Class = join(m.Point, rest), spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
				return p
			}
		}
		// The container's own view is not known, or from before it was made.
		if !onHost && r.layers.locate(&p) {
			return p
		}
	}
	if m, seen, ok := find(own, dev, path); ok {
		p.FSType = m.FSType
		if path != "" {
			p.Path = seen
		}
	}
	if !onHost {
		settled := view != nil && view.settled
		// A service that has a view of its own of the host, as systemd gives it (PrivateTmp=, ProtectSystem=), is in no container.
		onHost = settled && sameRoot(rootOf(own), rootOf(host)) || !settled && unstage(&p, own, host)
		p.Guessed = !settled
	}
	if seen, v, ok := volumeOf(r.kubelets, host, own, dev, path); ok {
		p.HostPath, p.Volume, p.Class = seen, v, r.classOfVolume(v, seen)
		return p
	}
	p.Class = classOf(p.FSType, dev, path, own, onHost)
	return p
}

// Local file systems, on which asking for a file's size cannot hang.
var local = map[string]bool{"ext4": true, "ext3": true, "ext2": true, "xfs": true, "btrfs": true, "tmpfs": true, "f2fs": true}

// Stat returns the size in bytes and the number of links of the file that Locate found, if it is still there and still
// has this inode number.
func (r *Resolver) Stat(p Place, inode uint64) (size uint64, links uint32, ok bool) {
	if p.HostPath == "" || !local[p.FSType] {
		return 0, 0, false
	}
	// Its path may have become another by now, of links that its owner made.
	st, err := hostfs.Dir{Path: r.root, NoLinks: true}.Stat(p.HostPath)
	if err != nil || st.Ino != inode {
		return 0, 0, false
	}
	return st.Size, st.Nlink, true
}

// namespaceOf returns the inode number of a process's mount namespace; 0 when it is gone.
func namespaceOf(tgid uint32) uint32 {
	ns, err := kernel.Namespace(tgid, "mnt")
	if err != nil {
		return 0
	}
	return ns
}

func (r *Resolver) mounts(ns, tgid uint32) []Mount {
	if t := r.table(ns, tgid); t != nil {
		return t.mounts
	}
	return nil
}

// table returns what a process in a namespace sees mounted; nil when that is not known.
func (r *Resolver) table(ns, tgid uint32) *table {
	if ns == r.hostNS { // whoever asks may be gone, and the kernel says only once that they changed
		tgid = r.hostProc
	}
	t, known := r.tables.Get(ns)
	if known {
		if t.before != nil && !slices.Contains(t.members, tgid) && slices.Contains(t.before.members, tgid) {
			return t.before
		}
		t.used = r.now()
		if t.before != nil && t.used.Sub(t.before.used) >= tableGrace {
			t.before = nil
		}
		fresh := r.now().Sub(t.read) < min(max(mountsAge*time.Duration(t.bytes)/mountsBytes, mountsAge), mountsOldest)
		if ns == r.hostNS && r.watch != nil {
			fresh = !r.watch.changed()
		}
		if fresh {
			return t
		}
	}
	if !r.read(ns, tgid) && !known {
		return nil
	}
	t, _ = r.tables.Get(ns)
	return t
}

// read reads the mounts of a namespace, unless the process is gone: then what was read earlier still holds for it.
func (r *Resolver) read(ns, tgid uint32) bool {
	if ns != namespaceOf(tgid) {
		return false
	}
	mounts, err := r.ReadMounts(tgid)
	if err != nil || len(mounts) == 0 {
		return false
	}
	r.keep(ns, tgid, mounts)
	return true
}

// ReadMounts returns the mounts that a process sees; where they are too many to read, those that were mounted first. It may be called at any time.
func (r *Resolver) ReadMounts(tgid uint32) ([]Mount, error) {
	most := int64(maxHostMounts)
	if tgid != r.hostProc {
		most = max(maxOwnMounts, 2*r.hostBytes.Load())
	}
	text, err := readTable(tgid, most)
	if tgid == r.hostProc && err == nil {
		r.hostBytes.Store(int64(len(text)))
	}
	return parseMounts(text), err
}

// sizeOf is what a table takes in memory, about: what it was read from stays with it.
func sizeOf(mounts []Mount) int {
	const each = 512
	return each * len(mounts)
}

func (r *Resolver) keep(ns, tgid uint32, mounts []Mount) {
	now := r.now()
	t := &table{mounts: mounts, bytes: sizeOf(mounts), read: now, used: now, first: tgid, latest: tgid, members: []uint32{tgid}}
	if old, ok := r.tables.Peek(ns); ok && (ns == r.hostNS || old.inUse(ns)) {
		t.entered, t.settled, t.first = old.entered, old.settled || old.entered, old.first
		t.before, t.members = old.before, old.members
		t.note(tgid)
	} else {
		r.forget(now)
	}
	r.tables.Add(ns, t)
	if ns != r.hostNS {
		r.bound(ns)
	} else {
		r.layers.learn(mounts)
		r.kubelets = kubeletsOf(mounts)
	}
}

// bound makes room where tables take too much: the one that was used longest ago goes first, and is read again when it is asked for. That of the host
// and the latest stay.
func (r *Resolver) bound(latest uint32) {
	bytes := 0
	for _, t := range r.tables.Values() {
		bytes += t.bytes
	}
	for _, ns := range r.tables.Keys() {
		if bytes <= maxTables {
			return
		}
		if t, _ := r.tables.Peek(ns); ns != r.hostNS && ns != latest {
			bytes -= t.bytes
			r.tables.Remove(ns)
		}
	}
}

// forget drops the tables of namespaces that nobody asked for in a while, unless a process of them is there still: what it does next may
// be over before its mounts can be read again.
func (r *Resolver) forget(now time.Time) {
	for {
		ns, t, ok := r.tables.GetOldest()
		if !ok || now.Sub(t.used) < tableGrace {
			return
		}
		if ns == r.hostNS || t.inUse(ns) {
			t.used = now
			r.tables.Get(ns) // to the other end
			continue
		}
		r.tables.Remove(ns)
	}
}
