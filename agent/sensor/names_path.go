// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// More renames of directories than this in one batch are not undone; what lay below them is told with its later path.
const maxMoves = 64

// dirPath is what a handle of a directory leads to.
type dirPath struct {
	path    string
	version uint32 // of the file system, when that was so
}

// batch is what is known of the events that were read together. A directory is asked for its path when an event is looked
// at, but it is wanted as it was when the event happened: later renames in the batch are undone, and a directory that is
// gone is found by the event that tells of its removal.
type batch struct {
	n       *Names
	records []nameRecord
	moves   []move
	gone    map[fileHandle]int // directories that were removed: index of the record
	stale   map[fileHandle]bool
	// The record that is being turned into changes: what is remembered of paths is as of this one. -1 before the first.
	current int
	// What is told when everything else is.
	later []NameChange
	// Where a name of a file was last made; beyond the end if one was removed. Made when it is needed.
	links map[fileHandle]int
}

// move is a rename of a directory.
type move struct {
	index    int
	old, new string // within the file system; "" when unknown
	fsid     uint64
	// Two directories changed places; the record after this one says the same.
	exchange bool
}

func (n *Names) newBatch(records []nameRecord) *batch {
	b := &batch{n: n, stale: map[fileHandle]bool{}, gone: map[fileHandle]int{}, current: -1}
	b.add(records)
	return b
}

// add takes further records, which were read later.
func (b *batch) add(records []nameRecord) {
	first := len(b.records)
	b.records = append(b.records, pairMoves(records)...)
	b.links = nil
	var indices []int
	for i := first; i < len(b.records); i++ {
		r := &b.records[i]
		if r.mask&unix.FAN_ONDIR == 0 {
			continue
		}
		if r.mask&unix.FAN_DELETE != 0 && !r.child.none() {
			b.gone[r.child] = i
		}
		if r.mask&unix.FAN_RENAME != 0 {
			indices = append(indices, i)
		}
	}
	if len(indices) > maxMoves {
		return
	}
	// From the last to the first: what came later is undone for what came before.
	earlier := b.moves
	b.moves = nil
	for k := len(indices) - 1; k >= 0; k-- {
		i := indices[k]
		r := &b.records[i]
		m := move{index: i, fsid: r.dir.fsid}
		m.old, _ = b.below(r.dir, r.name, i)
		m.new, _ = b.below(r.newDir, r.newName, i)
		if k > 0 && indices[k-1] == i-1 && isExchange(&b.records[i-1], r) {
			m.exchange, m.index = true, i-1
			m.old, m.new = m.new, m.old
			k--
		}
		b.moves = append(b.moves, m)
	}
	b.moves = append(b.moves, earlier...)
}

// extend reads on, in case a directory that is gone was removed after the batch was read. It reports whether there was more.
func (b *batch) extend() bool {
	if len(b.records) > 4*maxBatch {
		return false
	}
	later := &Names{fd: b.n.fd, buf: b.n.buf}
	if _, err := later.fill(); err != nil || len(later.records) == 0 {
		return false // an error comes again with the next reading
	}
	b.n.read = bootNow()
	b.add(later.records)
	return true
}

// isExchange says whether two renames are the two halves of one (RENAME_EXCHANGE).
func isExchange(a, b *nameRecord) bool {
	return a.mask&b.mask&unix.FAN_RENAME != 0 && a.tgid == b.tgid && a.dir == b.newDir && a.newDir == b.dir &&
		a.name == b.newName && a.newName == b.name && a.child != b.child
}

// below is the path of a name in a directory at the time of record at; ok is false when it lacks its beginning.
func (b *batch) below(dir fileHandle, name string, at int) (path string, ok bool) {
	parent, ok := b.path(dir, at)
	switch {
	case !ok:
		return name, false
	case name == "" || name == ".":
		return parent, true
	case parent == "/":
		return "/" + name, true
	default:
		return parent + "/" + name, true
	}
}

// path is where a directory was, within its file system, at the time of record at.
func (b *batch) path(dir fileHandle, at int) (string, bool) {
	fs := b.n.systems[dir.fsid]
	if fs == nil || dir.none() {
		return "", false
	}
	// While records are turned into changes, one after the other, what is remembered is as of the current one.
	remembered := at == b.current || (b.current >= 0 && len(b.moves) == 0)
	if remembered {
		if known, ok := b.n.paths.Get(dir); ok && known.version == fs.version {
			return known.path, true
		}
	}
	path, ok := "", false
	if !b.stale[dir] {
		if path, ok = b.n.ask(fs, dir); ok {
			path = b.undo(path, dir.fsid, at, len(b.records))
		} else {
			b.stale[dir] = true
		}
	}
	if !ok {
		removed, told := b.gone[dir]
		for !told && b.extend() {
			removed, told = b.gone[dir]
		}
		if !told {
			return "", false
		}
		r := &b.records[removed]
		if removed < at && r.mask&unix.FAN_CREATE == 0 { // else the kernel merged both: it was removed at some time after that
			return "", false
		}
		if path, ok = b.below(r.dir, r.name, removed); !ok {
			return "", false
		}
		path = b.undo(path, dir.fsid, at, removed)
	}
	if remembered {
		b.n.paths.Put(dir, dirPath{path, fs.version})
	}
	return path, true
}

// undo takes back, from a path as it was at the time of record until, what directories were renamed since record at.
func (b *batch) undo(path string, fsid uint64, at, until int) string {
	for _, m := range b.moves { // the latest first
		if m.index <= at || m.index >= until || m.fsid != fsid || m.old == "" || m.new == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(path, m.new); ok && (rest == "" || rest[0] == '/') {
			path = m.old + rest
		} else if rest, ok := strings.CutPrefix(path, m.old); ok && m.exchange && (rest == "" || rest[0] == '/') {
			path = m.new + rest
		}
	}
	return path
}

// ask has the file system find a directory by its handle and returns the path that it has now.
func (n *Names) ask(fs *fileSystem, dir fileHandle) (string, bool) {
	if err := n.open(fs); err != nil {
		return "", false
	}
	fd, err := unix.OpenByHandleAt(fs.fd, dir.system(), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd) // O_PATH: nothing is written
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Nlink == 0 {
		return "", false // removed, and still open somewhere
	}
	seen, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", false
	}
	return fs.through.within(seen), true
}

// within turns a path as it is seen through a mount into one within the file system.
func (v *view) within(seen string) string {
	rest := seen
	if v.Point != "/" {
		var ok bool
		if rest, ok = strings.CutPrefix(seen, v.Point); !ok || (rest != "" && rest[0] != '/') {
			return seen // not below what is mounted here: the kernel then tells the path from the top (d_path)
		}
	}
	if v.Root != "/" {
		if rest == "/" {
			rest = ""
		}
		return v.Root + rest
	}
	if rest == "" {
		return "/"
	}
	return rest
}

// inner is the inverse of within: a relative path from the mount point, if it is below it.
func (v *view) inner(path string) (string, bool) {
	rest := path
	if v.Root != "/" {
		var ok bool
		if rest, ok = strings.CutPrefix(path, v.Root); !ok || (rest != "" && rest[0] != '/') {
			return "", false
		}
	}
	if rest = strings.TrimPrefix(rest, "/"); rest == "" {
		return ".", true
	}
	return rest, true
}
