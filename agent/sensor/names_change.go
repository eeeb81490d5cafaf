// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NameOp is what happened to a name.
type NameOp uint8

// The operations.
const (
	// A file, directory, symbolic link, ... was made.
	NameCreated NameOp = iota + 1
	// A file that was there already got another name, or one without a name its first (O_TMPFILE).
	NameLinked
	// Target is the new name. One of two exchanged names (RENAME_EXCHANGE) has its own change.
	NameRenamed
	// A name was removed, or another file was renamed to it.
	NameRemoved
	// Owner, mode, times or extended attributes were set. Those that its maker set in the moment it was made, or before it had
	// a name, are part of its creation.
	AttributesChanged
)

// NameChange is a change of one directory entry, or of the attributes of what it leads to.
type NameChange struct {
	Op        NameOp
	Directory bool
	// Of a NameRemoved: no other name was left.
	Last bool
	// Thread group id of who did it, in the initial pid namespace; 0 when it is in none that the agent sees.
	Tgid uint32
	// Who did it, its cgroup and its mount namespace: only from ExactNames.
	Who      Who
	CgroupID uint64
	MntNS    uint32
	// It is about a regular file: only from ExactNames.
	Regular bool
	// Nanoseconds since boot: it happened between these.
	After, Before uint64
	// Number 0: the kernel did not tell (before 5.17, when the file is gone), or it is the lower file of an overlay.
	Inode  Inode
	FSType string
	// Path within the file system; any bytes but NUL. Of a NameLinked the name that it had, "" when that is not known.
	Path string
	// The new path of a NameRenamed and NameLinked.
	Target string
	// The path lacks its beginning: its directory was gone before it could be asked.
	PathCut, TargetCut bool
}

// entry is where a file was last seen.
type entry struct {
	dir  fileHandle
	name string
}

// How many records after a rename are looked at for news of the file that it replaced: they come one after the other, but
// those of other processes lie between.
const lookAhead = 16

// take turns the records of a batch into changes.
func (n *Names) take(records []nameRecord) {
	b := n.newBatch(records)
	for i := 0; i < len(b.records); i++ { //nolint:intrange // there may come more

		b.current = i
		r := &b.records[i]
		fs := n.systems[r.dir.fsid|r.child.fsid] // the same, where both are there
		switch {
		case r.mask == 0: // told with an earlier one
		case r.mask&unix.FAN_Q_OVERFLOW != 0:
			n.losses[namesOverflow]++
			for _, fs := range n.systems { // a rename of a directory may be among what is lost
				fs.version++
			}
		case fs == nil:
			n.losses[namesUnmounted]++
		case r.dir.none():
			// The number of links to an inode changed: it was replaced, or it was linked or unlinked and the next record tells.
			if !n.last.mayReplace(r) || !b.lostTo(r.child, i, n.last.name) {
				n.linking.Put(r.child, struct{}{})
				break
			}
			b.overwritten(fs, r, r.child, n.last.change)
		case r.mask&unix.FAN_RENAME != 0:
			b.renamed(fs, i)
		default:
			b.changed(fs, i)
		}
		if r.tgid == n.last.change.Tgid && r.mask&unix.FAN_RENAME == 0 && r.mask != 0 {
			n.last = lastRename{}
		}
	}
	b.catchUp("")
}

// lastRename is a rename of which it is not known yet whether it was over a file.
type lastRename struct {
	change NameChange
	child  fileHandle
	name   entry // the new one
}

func (l *lastRename) mayReplace(r *nameRecord) bool {
	return l.change.Tgid != 0 && r.tgid == l.change.Tgid && r.child.fsid == l.child.fsid && r.child != l.child
}

// catchUp tells of directories below a path that their removal waited.
func (b *batch) catchUp(below string) {
	for i, c := range slices.Backward(b.later) { // the deepest first
		if strings.HasPrefix(c.Path, below) {
			b.n.emit(c)
			b.later = slices.Delete(b.later, i, i+1)
		}
	}
}

// changed is about one name.
func (b *batch) changed(fs *fileSystem, i int) {
	n, r := b.n, &b.records[i]
	if n.works[r.dir] { // an overlay's own affair
		return
	}
	path, ok := b.below(r.dir, r.name, i)
	c := NameChange{Directory: r.mask&unix.FAN_ONDIR != 0, Tgid: r.tgid, FSType: fs.fsType, Path: path, PathCut: !ok}
	child := r.child
	switch {
	case r.name == ".":
		child = r.dir
	case child.none() && ok && r.mask&unix.FAN_DELETE == 0: // a kernel that does not tell
		child = n.leadsTo(fs, path)
	}
	c.Inode = child.inode(fs.fsType, fs.dev)
	if r.mask&(unix.FAN_MOVED_FROM|unix.FAN_MOVED_TO) != 0 { // the other half was not told
		moved := c
		moved.Op = NameRenamed
		if r.mask&unix.FAN_MOVED_TO != 0 {
			moved.Path, moved.PathCut, moved.Target, moved.TargetCut = "", true, path, !ok
		} else {
			moved.TargetCut = true
		}
		n.emit(moved)
	}
	removed := r.mask&unix.FAN_DELETE != 0
	if r.mask&unix.FAN_CREATE != 0 {
		if removed && ok && !child.none() && n.leadsTo(fs, path) == child {
			removed = false // the kernel merges events: it was made again after that
		}
		made := c
		made.Op = NameCreated
		if !c.Directory && !child.none() && n.linking.Has(child) {
			made.Op, made.Path, made.PathCut, made.Target, made.TargetCut = NameLinked, "", false, path, !ok
			if e, known := n.entries.Get(child); known {
				old, whole := b.below(e.dir, e.name, i)
				made.Path, made.PathCut = old, !whole
			}
		}
		n.emit(made)
		b.remember(fs, c.Directory, child, entry{r.dir, r.name}, path, ok)
	}
	if removed {
		c.Op, c.Last = NameRemoved, c.Directory || (!child.none() && !n.linked(fs, child))
		if c.Directory && r.mask&unix.FAN_CREATE != 0 { // the kernel merged both: something happened in between, in it
			b.later = append(b.later, c)
		} else {
			if c.Directory {
				b.catchUp(path + "/")
			}
			n.emit(c)
		}
		if e, known := n.entries.Peek(child); known && e == (entry{r.dir, r.name}) {
			n.entries.Remove(child)
		}
	}
	// A file without a name has one in the kernel, made of its number (d_mark_tmpfile).
	if r.mask&(unix.FAN_CREATE|unix.FAN_DELETE) == 0 && r.mask&unix.FAN_ATTRIB != 0 &&
		r.name != "#"+strconv.FormatUint(c.Inode.Number, 10) {
		c.Op = AttributesChanged
		n.emit(c)
		if r.name != "." {
			n.entries.Put(child, entry{r.dir, r.name})
		}
	}
}

// remember keeps where a file has its name, and of a directory its path.
func (b *batch) remember(fs *fileSystem, directory bool, child fileHandle, e entry, path string, whole bool) {
	if child.none() {
		return
	}
	if !directory {
		b.n.entries.Put(child, e)
	} else if whole {
		b.n.paths.Put(child, dirPath{path, fs.version})
	}
}

// renamed is about two names.
func (b *batch) renamed(fs *fileSystem, i int) {
	n, r := b.n, &b.records[i]
	c := NameChange{Op: NameRenamed, Directory: r.mask&unix.FAN_ONDIR != 0, Tgid: r.tgid, FSType: fs.fsType}
	from, ok := b.below(r.dir, r.name, i)
	c.Path, c.PathCut = from, !ok
	to, whole := b.below(r.newDir, r.newName, i)
	c.Target, c.TargetCut = to, !whole
	child := r.child
	if child.none() && whole {
		child = n.leadsTo(fs, to)
	}
	c.Inode = child.inode(fs.fsType, fs.dev)
	if c.Directory {
		fs.version++
	}
	if n.works[r.dir] || n.works[r.newDir] {
		b.moved(fs, i, c, child)
		return
	}
	n.last = lastRename{c, child, entry{r.newDir, r.newName}}
	if over := b.replaced(i); !over.none() {
		b.overwritten(fs, r, over, c)
		n.last = lastRename{}
	}
	n.emit(c)
	b.remember(fs, c.Directory, child, entry{r.newDir, r.newName}, to, whole)
}

// overwritten tells of a file whose name another one got.
func (b *batch) overwritten(fs *fileSystem, r *nameRecord, over fileHandle, by NameChange) {
	b.n.emit(NameChange{
		Op: NameRemoved, Directory: by.Directory, Tgid: r.tgid, FSType: fs.fsType, Path: by.Target, PathCut: by.TargetCut,
		Inode: over.inode(fs.fsType, fs.dev), Last: by.Directory || !b.n.linked(fs, over),
	})
}

// replaced returns the file that had the new name of a rename before: right after it the kernel tells that one of its
// links is gone.
func (b *batch) replaced(i int) fileHandle {
	r := &b.records[i]
	for j := i + 1; j < len(b.records) && j <= i+lookAhead; j++ {
		next := &b.records[j]
		if next.tgid != r.tgid || next.mask == 0 {
			continue
		}
		lost := next.child
		if next.name == "." {
			lost = next.dir
		}
		if next.mask&^unix.FAN_ONDIR != unix.FAN_ATTRIB || (next.name != "" && next.name != ".") ||
			lost.fsid != r.dir.fsid || lost == r.child || !b.lostTo(lost, j, entry{r.newDir, r.newName}) {
			return fileHandle{}
		}
		next.mask = 0
		return lost
	}
	return fileHandle{}
}

// lostTo says whether the number of links to a file changed in record at because another got its name, and not because
// a name of it was removed or added. The record that tells of that is a later one, or an earlier one that a removal was
// merged with. Where the kernel does not say what names led to, it must be known from before that the file had the name.
func (b *batch) lostTo(h fileHandle, at int, name entry) bool {
	if !b.n.Renames() {
		e, known := b.n.entries.Get(h)
		return known && e == name
	}
	if b.links == nil {
		b.links = map[fileHandle]int{}
		for i := range b.records {
			switch r := &b.records[i]; {
			case r.mask&unix.FAN_DELETE != 0:
				b.links[r.child] = len(b.records)
			case r.mask&unix.FAN_CREATE != 0:
				b.links[r.child] = max(i, b.links[r.child])
			}
		}
	}
	last, ok := b.links[h]
	return !ok || last <= at
}

// moved is about a rename between the directory where an overlay prepares things and its upper directory: something
// appeared whole, or was covered by a whiteout, which is how an overlay removes what a lower layer has.
func (b *batch) moved(fs *fileSystem, i int, c NameChange, child fileHandle) {
	n, r := b.n, &b.records[i]
	var other *nameRecord // when something in the upper directory was exchanged for it
	if i+1 < len(b.records) && isExchange(r, &b.records[i+1]) {
		other = &b.records[i+1]
		other.mask = 0
	}
	switch {
	case n.works[r.dir] && n.works[r.newDir]:
		return
	case n.works[r.newDir]: // taken away, to be removed there
		c.Op, c.Target, c.TargetCut, c.Last = NameRemoved, "", false, !n.linked(fs, child)
	case !c.TargetCut && n.whiteout(fs, c.Target):
		c.Op, c.Path, c.PathCut, c.Target, c.Inode = NameRemoved, c.Target, c.TargetCut, "", Inode{Dev: fs.dev}
		if other != nil {
			c.Inode, c.Directory = other.child.inode(fs.fsType, fs.dev), other.mask&unix.FAN_ONDIR != 0
			c.Last = true
		}
	default:
		c.Op, c.Path, c.PathCut, c.Target, c.TargetCut = NameCreated, c.Target, c.TargetCut, "", false
		b.remember(fs, c.Directory, child, entry{r.newDir, r.newName}, c.Path, !c.PathCut)
	}
	n.emit(c)
}

// whiteout says whether a path leads to what an overlay puts where it hides something: a device with the number 0.
func (n *Names) whiteout(fs *fileSystem, path string) bool {
	var st unix.Stat_t
	rel, ok := n.reach(fs, path)
	return ok && unix.Fstatat(fs.fd, rel, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// leadsTo returns the handle of what a path leads to now; none when that is nothing.
func (n *Names) leadsTo(fs *fileSystem, path string) fileHandle {
	rel, ok := n.reach(fs, path)
	if !ok {
		return fileHandle{}
	}
	h, _, err := unix.NameToHandleAt(fs.fd, rel, 0)
	if err != nil {
		return fileHandle{}
	}
	return newFileHandle(fs.fsid, h.Type(), h.Bytes())
}

// linked says whether a file has a name left, or may have.
func (n *Names) linked(fs *fileSystem, h fileHandle) bool {
	if h.none() || n.open(fs) != nil {
		return true
	}
	fd, err := unix.OpenByHandleAt(fs.fd, h.system(), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return !errors.Is(err, unix.ESTALE)
	}
	defer unix.Close(fd) // O_PATH: nothing is written
	var st unix.Stat_t
	return unix.Fstat(fd, &st) != nil || st.Nlink > 0
}

// reach opens the file system and returns path as it is seen from there.
func (n *Names) reach(fs *fileSystem, path string) (string, bool) {
	if !strings.HasPrefix(path, "/") || n.open(fs) != nil {
		return "", false
	}
	return fs.through.inner(path)
}

func (n *Names) emit(c NameChange) {
	if c.PathCut || c.TargetCut {
		n.losses[namesUnreadable]++
	}
	c.After, c.Before = n.emptied, n.read
	n.pending = append(n.pending, c)
	n.bytes += len(c.Path) + len(c.Target)
}

// pairMoves makes one record of the two that a kernel without FAN_RENAME tells of a rename. It does not say which two
// belong together: a process's next arrival is taken for its last departure. That is wrong when threads of one process
// rename at the same time, and when the queue merged renames from or to the same name.
func pairMoves(records []nameRecord) []nameRecord {
	const moved = unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO
	if !slices.ContainsFunc(records, func(r nameRecord) bool { return r.mask&moved != 0 }) {
		return records
	}
	type mover struct {
		tgid      uint32
		directory bool
	}
	// Halves that wait for the other one, as indices of out.
	departed, arrived := map[mover]int{}, map[mover]int{}
	out := make([]nameRecord, 0, len(records))
	pair := func(from, to *nameRecord) {
		directory := from.directory()
		from.mask &^= unix.FAN_MOVED_FROM
		to.mask &^= unix.FAN_MOVED_TO
		for _, half := range []*nameRecord{from, to} {
			if half.mask == unix.FAN_ONDIR { // nothing else is told with it
				half.mask = 0
			}
		}
		out = append(out, nameRecord{
			mask: unix.FAN_RENAME | directory, tgid: from.tgid, child: to.child,
			dir: from.dir, name: from.name, newDir: to.dir, newName: to.name,
		})
	}
	for _, r := range records {
		who := mover{r.tgid, r.directory() != 0}
		if from, ok := departed[who]; ok && r.mask&unix.FAN_MOVED_TO != 0 {
			delete(departed, who)
			pair(&out[from], &r)
		}
		if to, ok := arrived[who]; ok && r.mask&unix.FAN_MOVED_FROM != 0 { // two names were exchanged, or there and back
			delete(arrived, who)
			pair(&r, &out[to])
		}
		out = append(out, r)
		if r.mask&unix.FAN_MOVED_FROM != 0 {
			departed[who] = len(out) - 1
			if r.mask&unix.FAN_MOVED_TO != 0 {
				arrived[who] = len(out) - 1
			}
		}
	}
	return out
}

func (r *nameRecord) directory() uint64 { return r.mask & unix.FAN_ONDIR }
