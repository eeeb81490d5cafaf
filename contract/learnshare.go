// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// sharedFact is something that a workload was seen to have in common with another.
type sharedFact struct {
	fact
	rule    string
	other   *spoorv1.Workload
	pattern PathPattern
	// A path of the family; "" for memory and sockets that have none.
	example string
	storage spoorv1.StorageClass
}

type sharedKey struct {
	rule    string
	other   workloadKey
	pattern PathPattern
}

// join takes memory and sockets that two workloads have, and files that one reads and the other wrote: as the rules that begin with
// share look at them.
func (s *lesson) join(l *Learner, ev *spoorv1.Event, share *spoorv1.Share, t time.Time) {
	other, src := share.GetOther(), share.GetFile()
	if other.GetName() == "" || other.Same(s.id) || isPerson(other) {
		return
	}
	name := pathOf(src)
	switch share.GetKind() {
	case spoorv1.Share_KIND_MEMORY:
		s.shared(l, ev, RuleShareMemory, other, src, t)
	case spoorv1.Share_KIND_SOCKET:
		if name != "" && !isNodeSocket(name) && !isNodeSocket(src.GetHostPath()) {
			s.shared(l, ev, RuleShareSocket, other, src, t)
		}
	case spoorv1.Share_KIND_FILE:
		if share.GetAccess() != spoorv1.Share_ACCESS_READ || !outlives(src.GetStorageClass()) || isPerson(s.id) || isLeftover(name) || classify(name, behaviour{}).class == ClassLog {
			return
		}
		s.shared(l, ev, RuleShareFile, other, src, t)
		if author := l.lesson(other); author != nil {
			author.shared(l, ev, RuleShareFile, s.id, src, t)
		}
	}
}

// writeTogether takes who writes the files that outlive instances.
func (s *lesson) writeTogether(l *Learner, ev *spoorv1.Event, w *spoorv1.FileWrite, t time.Time) {
	src := w.GetFile()
	if !outlives(src.GetStorageClass()) || src.GetInode() == 0 || src.GetUnlinked() || !w.GetData() && w.GetSizeBefore() == w.GetSizeAfter() {
		return
	}
	id := idOf(ev.GetNode(), src)
	before, known := l.writers.get(id)
	l.writers.put(id, s.id)
	if known && !before.Same(s.id) {
		s.shared(l, ev, RuleShareFile, before, src, t)
	}
}

func (s *lesson) shared(l *Learner, ev *spoorv1.Event, rule string, other *spoorv1.Workload, src *spoorv1.File, t time.Time) {
	key := sharedKey{rule: rule, other: workloadKey{other.GetCluster(), other.GetNamespace(), other.GetKind(), other.GetName()}}
	if name := pathOf(src); strings.HasPrefix(name, "/") && !src.GetPathTruncated() {
		key.pattern = Generalise(name)
	}
	f := s.shares[key]
	if f == nil {
		if !s.isNew(l, t) {
			return
		}
		f = &sharedFact{rule: rule, other: other, pattern: key.pattern, storage: src.GetStorageClass()}
		if key.pattern != "" {
			f.example = pathOf(src)
		}
		s.shares[key] = f
	}
	f.add(ev, t)
}

// what is shared, for a person who has to decide.
func (f *sharedFact) what() string {
	switch f.rule {
	case RuleShareMemory:
		return "writable memory"
	case RuleShareSocket:
		return "a Unix socket"
	default:
		return "a file in " + keptWhere(f.storage)
	}
}

// shares fills shares. Memory and files in common are state that a stateless workload should not have; a person has to agree to them.
func (d *draft) shares() {
	spec, self := &d.Contract.Spec, d.lesson.id
	facts := slices.SortedFunc(maps.Values(d.lesson.shares), func(a, b *sharedFact) int {
		return strings.Compare(a.key(self), b.key(self))
	})
	for i := range spec.Shares {
		one := &policy{shares: d.agreed.shares[i : i+1]}
		d.unseen("spec.shares", i, slices.ContainsFunc(facts, func(f *sharedFact) bool { return one.sharesWith(self, f.other, f.example, false) }))
	}
	volumes := compile(d.Contract)
	state := spec.State
	if state == "" {
		state = volumes.state(self.GetKind())
	}
	var undecided []string
	for _, f := range facts {
		entry := Share{Workload: refTo(f.other, self)}
		if f.pattern != "" && checkPath(string(f.pattern)) == nil {
			entry.Path = f.pattern
		}
		place := outside
		if f.rule == RuleShareFile {
			place, _ = volumes.place(f.example, false)
		}
		seen := fmt.Sprintf("%s, %s", f.rule, count(len(f.instances), "instance"))
		switch {
		case place == inVolume, entry == Share{}, d.agreed.sharesWith(self, f.other, f.example, false), slices.Contains(spec.Shares, entry):
		case f.events == 1:
			undecided = append(undecided, fmt.Sprintf("%s, seen once, %s UTC:", f.what(), f.first.UTC().Format(time.DateTime)), Line(entry))
			d.Undecided++
		case state == Stateless && f.rule != RuleShareSocket:
			undecided = append(undecided, f.what()+", and stateless workloads share none. If both agreed:", Line(entry))
			d.Undecided++
		case d.room("spec.shares", len(spec.Shares)):
			d.beside("spec.shares", len(spec.Shares), seen)
			spec.Shares = append(spec.Shares, entry)
		}
	}
	d.undecided("spec.shares", spec.Shares != nil, undecided)
}

func (f *sharedFact) key(self *spoorv1.Workload) string {
	return refTo(f.other, self).String() + " " + string(f.pattern) + " " + f.rule
}
