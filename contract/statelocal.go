// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// pseudo are file systems whose files are no storage.
var pseudo = []string{
	"proc", "sysfs", "cgroup", "cgroup2", "devpts", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "bpf_fs", "pstore",
	"efivarfs", "mqueue", "pipefs", "sockfs", "anon_inodefs", "nsfs", "selinuxfs", "binfmt_misc", "fusectl", "hugetlbfs",
}

// write takes a summary of writes to one file: state.local.
func (j *Judge) write(in *instance, ev *spoorv1.Event, w *spoorv1.FileWrite, t time.Time) {
	src := w.GetFile()
	if src == nil || slices.Contains(pseudo, src.GetFsType()) {
		return
	}
	id, path, truncated := idOf(ev.GetNode(), src), pathOf(src), src.GetPathTruncated()
	if !truncated && !strings.HasPrefix(path, "/") {
		// No name in the tree: a memfd, a pipe, a deleted file of old.
		if src.GetInode() == 0 || path != "" {
			return
		}
		truncated = true
	}
	if src.GetUnlinked() {
		j.each(id, func(f *file) { j.gone(f, t, ev) })
		return
	}
	f, known := in.files.get(id)
	if !known {
		if gone, ok := j.departed.get(id); ok {
			switch {
			case timeOr(w.GetFirst(), t).After(gone.at):
				j.departed.remove(id) // a new life of the inode
			case gone.to == "":
				return
			default:
				path, truncated = gone.to, truncated && !strings.HasPrefix(gone.to, "/")
			}
		}
		if !w.GetData() && w.GetSizeBefore() == w.GetSizeAfter() {
			return // times, mode or owner alone
		}
		if !j.watched(in, path, truncated, src) {
			return
		}
		first := timeOr(w.GetFirst(), t)
		if first.After(t) {
			first = t
		}
		f = j.track(in, id, path, truncated, src.GetStorageClass(), first)
	} else {
		j.tracked.get(f)
		f.overwritten(w)
	}
	f.wrote = ev
	j.resize(f, min(w.GetSizeAfter(), maxSize), t, ev)
	if known && len(f.names) == 1 && f.names[0] != path && !truncated {
		// Its new name was not reported, or is yet to come.
		j.renamed(f, f.names[0], path, t, f.moved)
	} else {
		j.weigh(f, t, true)
	}
	if in.over && f.diesWithInstance() {
		j.gone(f, t, ev)
	}
}

// watched says whether anything about a file could ever be said, so that it is worth remembering.
func (j *Judge) watched(in *instance, path string, truncated bool, src *spoorv1.File) bool {
	p, state := in.workload.policy, in.workload.state()
	place, i := p.place(path, truncated)
	switch place {
	case inVolume:
		return false
	case inScratch:
		return p.maxAge(i, state) > 0 || p.contract.Spec.Scratch[i].MaxBytes > 0
	case inUnknown:
		if state == Stateless {
			j.unjudged.Path++
		}
		return false
	}
	if state == Stateless && src.GetStorageClass() == spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
		j.unjudged.StorageClass++
	}
	return state == Stateless && in.workload.isLocal(src.GetStorageClass())
}

// isLocal says whether files of a storage class are state that a stateless workload must not keep.
func (w *workload) isLocal(class spoorv1.StorageClass) bool {
	switch class {
	case spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME,
		spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, spoorv1.StorageClass_STORAGE_CLASS_HOST:
		return true
	case spoorv1.StorageClass_STORAGE_CLASS_TMPFS:
		// In a pod a tmpfs is declared, bounded and gone with it; on a host it is /tmp or /run.
		return onPlainHost(w.id)
	default:
		return false
	}
}

// weigh judges a file by the worst of its names. There says that the file was there at t, and is not only not known
// to have gone.
func (j *Judge) weigh(f *file, t time.Time, there bool) {
	w := f.instance.workload
	p := w.policy
	worst, name, scratch := inVolume, f.names[0], -1
	for _, n := range f.names {
		switch place, i := p.place(n, f.truncated); {
		case place == outside && worst != outside:
			worst, name = outside, n
		case place == inScratch && worst != outside:
			worst, name, scratch = inScratch, n, i
		}
	}
	if worst != inScratch {
		scratch = -1
	}
	if f.scratch != scratch {
		size, ev := f.size, f.latest()
		j.resize(f, 0, t, ev)
		f.scratch = scratch
		j.resize(f, size, t, ev)
		j.schedule.cancel(f)
		j.acquit(f, t, ev)
	}
	switch worst {
	case outside:
		due := f.first.Add(j.limits.Settle)
		switch {
		case w.state() != Stateless || !w.isLocal(f.storage) || isLeftover(name):
			j.acquit(f, t, f.latest())
		case t.Before(due) && f.matter == nil:
			j.schedule.set(f, due)
		default:
			j.schedule.cancel(f)
			j.accuse(f, name, t, false)
		}
	case inScratch:
		age := p.maxAge(scratch, w.state())
		switch due := f.first.Add(age); {
		case age == 0 || isLeftover(name):
			j.acquit(f, t, f.latest())
		case !t.Before(due):
			j.schedule.cancel(f)
			j.accuse(f, name, t, !there && !j.seesRemovals(f.id.node))
		default:
			j.acquit(f, t, f.latest())
			j.schedule.set(f, due)
		}
	default:
		j.acquit(f, t, f.latest())
	}
}

// expire is called when a scratch file has become too old, or another one has been there for long enough to count.
func (f *file) expire(j *Judge) {
	j.weigh(f, f.at, false)
}

// accuse makes a file the cause of a matter. Presumed says that the file may be gone since, unseen.
func (j *Judge) accuse(f *file, name string, t time.Time, presumed bool) {
	w := f.instance.workload
	rule := RuleStateLocal
	if f.scratch < 0 {
		if dir, ok := w.dataDir(name); ok && f.kind.class == ClassData {
			f.kind = ofServer(dir)
		}
		rule = ruleOf(f.kind.class)
	}
	if m := f.matter; m != nil && (f.presumed && !presumed || m.key.rule != rule) {
		j.acquit(f, t, f.latest()) // it is there after all, or is known better: another matter
	}
	m := f.matter
	if m == nil || m.dead {
		if base, ok := journalOf(name); ok {
			name = base // a database and its journal are one matter
		}
		subject := j.fileSubject(w, rule, name)
		if presumed {
			subject = string(w.policy.contract.Spec.Scratch[f.scratch].Path) + " (removals are not seen)"
		}
		m = j.matter(w, rule, subject)
		f.matter, f.presumed = m, presumed
		m.causes++
	}
	if j.raise(m, t, f.latest()) {
		v := f.verdict(name, m.key.subject)
		v.Time = t
		for _, ev := range []*spoorv1.Event{f.wrote, f.moved} {
			if ev != nil {
				v.Evidence = append(v.Evidence, ev)
			}
		}
		j.tell(m, v)
	}
}

// maxSiblings is how many files of one directory get a verdict each; beyond, the directory does.
const maxSiblings = 8

// fileSubject is the subject of verdicts about a file. Names of one family share one, and so do many of a directory.
func (j *Judge) fileSubject(w *workload, rule, name string) string {
	if dir, ok := w.dataDir(name); ok && rule != RuleExecDrift {
		return string(Generalise(dir)) + "/**" // a database is one thing
	}
	subject := string(classify(name, behaviour{}).family(name))
	if _, ok := w.matters[matterKey{rule, subject}]; ok {
		return subject
	}
	dir := subject[:strings.LastIndexByte(subject, '/')+1]
	siblings := 0
	for key := range w.matters {
		if key.rule == rule && strings.HasPrefix(key.subject, dir) && !strings.Contains(key.subject[len(dir):], "/") {
			siblings++
		}
	}
	if siblings < maxSiblings || strings.HasSuffix(subject, "/**") {
		return subject
	}
	return dir + "*"
}

// resize notes the size of a file and compares what its instance keeps below the same scratch path with the limit.
// Without an event the file is given up, not changed.
func (j *Judge) resize(f *file, size uint64, t time.Time, ev *spoorv1.Event) {
	before := f.size
	f.size = size
	if f.scratch < 0 || size == before {
		return
	}
	in := f.instance
	use := &in.scratch[f.scratch]
	use.bytes += size - before // wraps around where it shrinks
	entry := in.workload.policy.contract.Spec.Scratch[f.scratch]
	over := entry.MaxBytes > 0 && use.bytes > uint64(entry.MaxBytes)
	// Where files go unseen, the sum is too high, and only what one file holds is certain.
	certain := j.seesRemovals(f.id.node) || size > uint64(entry.MaxBytes)
	switch {
	case over && certain && ev != nil:
		if use.matter == nil || use.matter.dead {
			use.matter = j.matter(in.workload, RuleStateLocal, string(entry.Path)+" (total size)")
			use.matter.causes++
		}
		if j.raise(use.matter, t, ev) {
			v := in.workload.sizeVerdict(entry, use.bytes, f.storage)
			v.Time, v.Evidence = t, []*spoorv1.Event{ev}
			j.tell(use.matter, v)
		}
	case !over && use.matter != nil:
		m := use.matter
		use.matter = nil
		if ev == nil {
			m.lose() // a file is no longer watched; its bytes are still there
		} else {
			j.settle(m, t, ev)
		}
	}
}
