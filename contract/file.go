// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// fileID is an inode of a node. Where an event does not know the inode, the path stands for it.
type fileID struct {
	node            string
	dev, generation uint32
	inode           uint64
	path            string
}

func idOf(node string, f *spoorv1.File) fileID {
	if f.GetInode() == 0 {
		return fileID{node: node, path: pathOf(f)}
	}
	return fileID{node: node, dev: f.GetDev(), generation: f.GetGeneration(), inode: f.GetInode()}
}

// pathOf is the exact path.
func pathOf(f *spoorv1.File) string {
	if raw := f.GetPathRaw(); len(raw) > 0 {
		return string(raw)
	}
	return f.GetPath()
}

// pathOfTarget is the exact new path of a rename or link.
func pathOfTarget(c *spoorv1.FileChange) string {
	if raw := c.GetTargetPathRaw(); len(raw) > 0 {
		return string(raw)
	}
	return c.GetTargetPath()
}

// maxLinks bounds how many names of one file are followed.
const maxLinks = 8

// file is a file that an instance has written where its contract sets a limit, or allows nothing.
type file struct {
	id       fileID
	instance *instance
	// The same inode written by other instances.
	next *file
	// Every name that is known, at least one.
	names     []string
	truncated bool
	storage   spoorv1.StorageClass
	size      uint64
	first     time.Time
	// The scratch entry that covers it, -1 for none.
	scratch int
	// What it seems to be, and what it was seen to do.
	kind      fileKind
	behaviour behaviour
	// The last write, and the change of name after it, as evidence.
	wrote, moved *spoorv1.Event
	matter       *matter
	// The matter rests on nobody having seen the file go, on a node that sees no file go.
	presumed bool
	alarm
}

// latest is the event that last said something of the file.
func (f *file) latest() *spoorv1.Event {
	if f.moved != nil {
		return f.moved
	}
	return f.wrote
}

// maxSize keeps sums of sizes from overflowing: with every file at its greatest they still fit.
const maxSize = 1 << 48

func (j *Judge) track(in *instance, id fileID, path string, truncated bool, storage spoorv1.StorageClass, first time.Time) *file {
	f := &file{id: id, instance: in, names: []string{path}, truncated: truncated, storage: storage, first: first, scratch: -1}
	in.files.put(id, f)
	in.name(f, path)
	j.tracked.put(f, struct{}{})
	f.next = j.files[id]
	j.files[id] = f
	return f
}

// name notes a name of a file, and which files are each other's journals.
func (in *instance) name(f *file, name string) {
	in.byPath[name] = f
	if base, ok := journalOf(name); ok {
		if g := in.byPath[base]; g != nil {
			g.behaviour.journal = true
			g.kind = classify(g.names[0], g.behaviour)
		}
	}
	for _, suffix := range journals {
		f.behaviour.journal = f.behaviour.journal || in.byPath[name+suffix] != nil
	}
	f.kind = classify(name, f.behaviour)
	in.workload.noteDataDir(name)
}

// untrack takes a file out of every index.
func (j *Judge) untrack(f *file) {
	in := f.instance
	in.files.remove(f.id)
	j.tracked.remove(f)
	j.schedule.cancel(f)
	for _, name := range f.names {
		if in.byPath[name] == f {
			delete(in.byPath, name)
		}
	}
	head := j.files[f.id]
	if head == f {
		head = f.next
	} else {
		for g := head; g != nil; g = g.next {
			if g.next == f {
				g.next = f.next
				break
			}
		}
	}
	if head == nil {
		delete(j.files, f.id)
	} else {
		j.files[f.id] = head
	}
}

// forgetFile stops watching a file that may well go on to be there.
func (j *Judge) forgetFile(f *file) {
	j.untrack(f)
	j.resize(f, 0, f.first, nil)
	if f.matter != nil {
		f.matter.lose()
		f.matter = nil
	}
}

// gone notes that a file is no longer there.
func (j *Judge) gone(f *file, t time.Time, ev *spoorv1.Event) {
	j.untrack(f)
	j.resize(f, 0, t, ev)
	j.acquit(f, t, ev)
}

// acquit takes a file from the matter that it was a cause of.
func (j *Judge) acquit(f *file, t time.Time, ev *spoorv1.Event) {
	if m := f.matter; m != nil {
		f.matter, f.presumed = nil, false
		j.settle(m, t, ev)
	}
}

// seesRemovals says whether a node reports that files go. Until it has reported any change of a name, it does not.
func (j *Judge) seesRemovals(node string) bool {
	_, ok := j.renamers.get(node)
	return ok
}

// diesWithInstance says whether the kernel or the container runtime removes the file when its instance ends.
func (f *file) diesWithInstance() bool {
	switch f.storage {
	case spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME:
		return true
	case spoorv1.StorageClass_STORAGE_CLASS_TMPFS:
		return !onPlainHost(f.instance.workload.id)
	default:
		return false
	}
}

// departure is where a file went, for a summary of writes that arrives after the news.
type departure struct {
	at time.Time
	// The new path, or "" when the file was removed.
	to string
}

// change follows names: a file is judged by where it is, not by where it was written. The instance is nil when whoever
// made the change has no contract.
func (j *Judge) change(in *instance, ev *spoorv1.Event, t time.Time) {
	c := ev.GetFileChange()
	if c == nil || c.GetFile() == nil {
		return
	}
	id, path, to := idOf(ev.GetNode(), c.GetFile()), pathOf(c.GetFile()), c.GetTargetPath()
	switch c.GetOperation() {
	case spoorv1.FileChange_OPERATION_CREATE:
		// A new life of the inode: what was known is about another file, unless it was written after this moment.
		j.departed.remove(id)
		j.shared.remove(id)
		j.each(id, func(f *file) {
			if f.first.Before(t) {
				j.gone(f, t, ev)
			}
		})
		if in != nil {
			j.replaced(in, id, path, t, ev)
		}
	case spoorv1.FileChange_OPERATION_UNLINK:
		j.shared.remove(id)
		known := j.each(id, func(f *file) { j.unlinked(f, path, c.GetFile().GetUnlinked(), t, ev) })
		if !known && in != nil {
			if f := in.byPath[path]; f != nil && (id.inode == 0 || f.id.inode == 0) {
				j.unlinked(f, path, c.GetFile().GetUnlinked(), t, ev)
			} else {
				j.departed.put(id, departure{at: t})
			}
		}
	case spoorv1.FileChange_OPERATION_RENAME:
		if in != nil {
			j.replaced(in, id, to, t, ev)
		}
		known := j.each(id, func(f *file) { j.renamed(f, path, to, t, ev) })
		if !known && in != nil {
			j.departed.put(id, departure{at: t, to: to})
			j.renamedBelow(in, path, to, t, ev)
		}
	case spoorv1.FileChange_OPERATION_LINK:
		j.each(id, func(f *file) {
			if len(f.names) < maxLinks && !slices.Contains(f.names, to) {
				f.names = append(f.names, to)
				f.instance.name(f, to)
			}
			f.moved = ev
			j.weigh(f, t, true)
		})
	}
}

// each calls do for the file of every instance that is known to have written an inode.
func (j *Judge) each(id fileID, do func(*file)) (any bool) {
	for f := j.files[id]; f != nil; {
		next := f.next // do may untrack f
		do(f)
		f, any = next, true
	}
	return any
}

func (j *Judge) unlinked(f *file, path string, last bool, t time.Time, ev *spoorv1.Event) {
	i := slices.Index(f.names, path)
	switch {
	case f.first.After(t): // late news of the inode's life before
	case last, i >= 0 && len(f.names) == 1:
		j.gone(f, t, ev)
	case i >= 0:
		f.names = slices.Delete(f.names, i, i+1)
		if f.instance.byPath[path] == f {
			delete(f.instance.byPath, path)
		}
		f.moved = ev
		j.weigh(f, t, true)
	}
	// Otherwise a name went that was never seen, and others are left.
}

// replaced notes that a path now leads to another inode.
func (j *Judge) replaced(in *instance, id fileID, path string, t time.Time, ev *spoorv1.Event) {
	if f := in.byPath[path]; f != nil && f.id != id {
		j.unlinked(f, path, false, t, ev)
	}
}

func (j *Judge) renamed(f *file, from, to string, t time.Time, ev *spoorv1.Event) {
	in := f.instance
	i := max(slices.Index(f.names, from), 0)
	if in.byPath[f.names[i]] == f {
		delete(in.byPath, f.names[i])
	}
	f.names[i] = to
	in.name(f, to)
	f.truncated = f.truncated && !strings.HasPrefix(to, "/")
	f.moved = ev
	// Its verdict was about the old name.
	j.acquit(f, t, ev)
	j.weigh(f, t, true)
}

// renamedBelow follows files through the rename of a directory above them.
func (j *Judge) renamedBelow(in *instance, from, to string, t time.Time, ev *spoorv1.Event) {
	if in.files.len() == 0 || from == "" {
		return
	}
	for _, f := range in.allFiles() {
		for _, name := range f.names {
			if below, ok := strings.CutPrefix(name, from); ok && strings.HasPrefix(below, "/") {
				j.renamed(f, name, to+below, t, ev)
			}
		}
	}
}
