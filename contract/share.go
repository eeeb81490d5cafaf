// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// shareQuiet is how long nobody else must have used what is shared for its sharing to be over.
const shareQuiet = 24 * time.Hour

// writer is who wrote a file, and when last.
type writer struct {
	workload *spoorv1.Workload
	instance string
	event    *spoorv1.Event
	at       time.Time
}

// sharing is the two last different writers of a file, the later one first.
type sharing [2]writer

func (w writer) is(other writer) bool {
	return w.instance == other.instance && w.workload.Same(other.workload)
}

// outlives says whether files of a storage class are there for several instances to reach. On a node's own disk everything
// is shared in a sense, so that says nothing.
func outlives(class spoorv1.StorageClass) bool {
	return class == spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH || class == spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME
}

// share looks at who writes the files that outlive instances and that several can reach: share.file.
func (j *Judge) share(w *workload, ev *spoorv1.Event, fw *spoorv1.FileWrite, t time.Time) {
	src := fw.GetFile()
	if !outlives(src.GetStorageClass()) || src.GetInode() == 0 || src.GetUnlinked() || !fw.GetData() && fw.GetSizeBefore() == fw.GetSizeAfter() {
		return
	}
	id := idOf(ev.GetNode(), src)
	me := writer{w.id, ev.GetInstance().GetId(), ev, t}
	s, _ := j.shared.get(id)
	before := s
	switch {
	case s == nil:
		s = &sharing{me}
	case s[0].is(me):
		s[0] = me
		j.shared.put(id, s)
		return // nobody else wrote in between
	default:
		s = &sharing{me, s[0]}
	}
	j.shared.put(id, s)
	if before == nil || w.policy == nil {
		return
	}
	other := before[0]
	a := &acquaintance{workload: other.workload, event: other.event}
	if other.workload.Same(w.id) {
		// A successor writes what its predecessor wrote; two that live take turns.
		if before[1].workload == nil || !before[1].is(me) {
			return
		}
		a.relation = replica
		if besideEachOther(ev.GetInstance(), other.event.GetInstance()) {
			a.relation = sidecar
		}
	}
	j.shareFile(w, ev, src, a, "write", t)
}

// readByOther looks at what one workload reads that another wrote: share.file.
func (j *Judge) readByOther(w *workload, ev *spoorv1.Event, s *spoorv1.Share, t time.Time) {
	src := s.GetFile()
	if s.GetKind() != spoorv1.Share_KIND_FILE || s.GetAccess() != spoorv1.Share_ACCESS_READ || !outlives(src.GetStorageClass()) ||
		s.GetOther().GetName() == "" || s.GetOther().Same(w.id) || isPerson(w.id) || isPerson(s.GetOther()) {
		return
	}
	name := pathOf(src)
	// Somebody who ships logs reads them.
	if isLeftover(name) || classify(name, behaviour{}).class == ClassLog {
		return
	}
	if w.policy != nil {
		j.shareFile(w, ev, src, &acquaintance{workload: s.GetOther()}, "reads what %s wrote", t)
		return
	}
	if author := j.workload(s.GetOther()); author.policy != nil {
		j.shareFile(author, ev, src, &acquaintance{workload: w.id}, "wrote what %s reads", t)
	}
}

// relation is what two instances that share something are to each other.
type relation int

const (
	another relation = iota
	replica
	sidecar
)

// acquaintance is with whom something is shared.
type acquaintance struct {
	workload *spoorv1.Workload
	relation relation
	// What the other did, where that is known.
	event *spoorv1.Event
}

func (a *acquaintance) String() string {
	switch a.relation {
	case replica:
		return "another replica of it"
	case sidecar:
		return "another container of the same pod"
	default:
		return workloadName(a.workload)
	}
}

// grade is how bad it is to share with somebody. Containers of a pod are moved and scaled together.
func (a *acquaintance) grade() spoorv1.Severity {
	if a.relation == sidecar {
		return spoorv1.Severity_SEVERITY_LOW
	}
	return spoorv1.Severity_SEVERITY_MEDIUM
}

// agreesToShare says whether the contract allows that something is shared.
func (p *policy) agreesToShare(rule string, self, other *spoorv1.Workload, f *spoorv1.File, place covered) bool {
	if rule == RuleShareFile && (place == inVolume || place == inUnknown) {
		return true
	}
	return p.sharesWith(self, other, pathOf(f), f.GetPathTruncated())
}

func (j *Judge) shareFile(w *workload, ev *spoorv1.Event, src *spoorv1.File, a *acquaintance, deed string, t time.Time) {
	name := pathOf(src)
	place, _ := w.policy.place(name, src.GetPathTruncated())
	if a.relation != another && w.state() != Stateless || w.policy.agreesToShare(RuleShareFile, w.id, a.workload, src, place) {
		return
	}
	m := j.matter(w, RuleShareFile, j.fileSubject(w, RuleShareFile, name))
	m.endless, m.other = false, a.workload
	if j.raise(m, t, ev) {
		j.tell(m, w.shareVerdict(m.key.subject, name, src, a, deed, ev, t))
	}
	j.fade(m, t.Add(shareQuiet), ev)
}

func (w *workload) shareVerdict(subject, name string, src *spoorv1.File, a *acquaintance, deed string, ev *spoorv1.Event, t time.Time) Verdict {
	v := Verdict{Severity: a.grade(), Time: t, Evidence: []*spoorv1.Event{ev}}
	where := keptWhere(src.GetStorageClass())
	if deed == "write" {
		v.Evidence = []*spoorv1.Event{a.event, ev}
		v.Title = fmt.Sprintf("%s and %s write the same file %s in %s", w.describe(), a, subject, where)
		v.Why = fmt.Sprintf("Processes that write one file share state: one can break what the other relies on, neither can be moved or changed alone, and nobody sees it in their interfaces. It was written%s, and before that%s.",
			by(ev), by(a.event))
	} else {
		v.Title = fmt.Sprintf("%s %s: %s in %s", w.describe(), fmt.Sprintf(deed, a), subject, where)
		v.Why = fmt.Sprintf("A file that one writes and another reads is an interface that nobody declared: its form cannot be changed, nor either of the two moved, without the other. It was read%s.", by(ev))
	}
	v.Fix = fmt.Sprintf("Give the data one owner, and let the other ask it over its interface. If both agreed to share the file, %s",
		w.howToShare(a, Generalise(name)))
	if subject == others {
		v.Title = fmt.Sprintf("%s shares files in many more places, last %s with %s", w.describe(), Generalise(name), a)
	}
	return v
}

// howToShare ends a sentence with the line that allows what is shared.
func (w *workload) howToShare(a *acquaintance, pattern PathPattern) string {
	entry := Share{Workload: refTo(a.workload, w.id)}
	if checkPath(string(pattern)) == nil {
		entry.Path = pattern
	}
	if entry == (Share{}) {
		return "say so under spec.shares of " + w.contractIn() + "."
	}
	return fmt.Sprintf("add it to spec.shares of %s: %s", w.contractIn(), Line(entry))
}
