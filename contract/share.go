// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// shareQuiet is how long nobody else must have written a file for its sharing to be over.
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

// share looks at who writes the files that outlive instances and that several can reach: share.file. On a node's own
// disk everything is shared in a sense, so that says nothing.
func (j *Judge) share(w *workload, ev *spoorv1.Event, fw *spoorv1.FileWrite, t time.Time) {
	src := fw.GetFile()
	switch src.GetStorageClass() {
	case spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME:
	default:
		return
	}
	if src.GetInode() == 0 || src.GetUnlinked() || !fw.GetData() && fw.GetSizeBefore() == fw.GetSizeAfter() {
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
	replica := sameWorkload(other.workload, w.id)
	// A successor writes what its predecessor wrote; two that live take turns.
	if replica && (w.state() != Stateless || before[1].workload == nil || !before[1].is(me)) {
		return
	}
	name := pathOf(src)
	if place, _ := w.policy.place(name, src.GetPathTruncated()); place == inVolume || place == inUnknown {
		return
	}
	m := j.matter(w, RuleShareFile, j.fileSubject(w, RuleShareFile, name))
	m.endless = false
	if j.raise(m, t, ev) {
		j.tell(m, w.shareVerdict(m.key.subject, name, src, &other, replica, ev, t))
	}
	j.fade(m, t.Add(shareQuiet), ev)
}

func (w writer) is(other writer) bool {
	return w.instance == other.instance && sameWorkload(w.workload, other.workload)
}

func (w *workload) shareVerdict(subject, name string, src *spoorv1.File, other *writer, replica bool, ev *spoorv1.Event, t time.Time) Verdict {
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_MEDIUM, Time: t, Evidence: []*spoorv1.Event{other.event, ev}}
	who := workloadName(other.workload)
	if replica {
		who = "another replica of it"
	}
	v.Title = fmt.Sprintf("%s and %s write the same file %s in %s", w.describe(), who, subject, keptWhere(src.GetStorageClass()))
	v.Why = fmt.Sprintf("Processes that write one file share state: one can break what the other relies on, neither can be moved or changed alone, and nobody sees it in their interfaces. It was written%s, and before that%s.",
		by(ev), by(other.event))
	v.Fix = fmt.Sprintf("Give the data one owner, and let the other ask it over its interface. If both agreed to share the file, add it to spec.volumes of %s: %s",
		w.contractIn(), Line(Volume{Path: Generalise(name), Class: classify(name, behaviour{}).class}))
	if subject == others {
		v.Title = fmt.Sprintf("%s shares files in many more places, last %s with %s", w.describe(), Generalise(name), who)
	}
	return v
}
