// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"path"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// survives looks at what an instance reads that another instance of its own workload wrote: state.survives. The agent tells
// of both, so nothing is remembered here.
func (j *Judge) survives(in *instance, ev *spoorv1.Event, s *spoorv1.Share, t time.Time) {
	w, src := in.workload, s.GetFile()
	if s.GetKind() != spoorv1.Share_KIND_FILE || s.GetAccess() != spoorv1.Share_ACCESS_READ || src == nil ||
		!s.GetOther().Same(w.id) || s.GetOtherInstance() == ev.GetInstance().GetId() || w.state() != Stateless ||
		w.isSidecar(ev, s.GetOtherInstance()) {
		return
	}
	name := pathOf(src)
	if place, _ := w.policy.place(name, src.GetPathTruncated()); place == inVolume || place == inUnknown || isLeftover(name) {
		return
	}
	w.noteDataDir(name)
	m := j.matter(w, RuleStateSurvives, j.fileSubject(w, RuleStateSurvives, name))
	m.endless = false
	if j.raise(m, t, ev) {
		j.tell(m, w.survivesVerdict(m.key.subject, name, src, ev, t))
	}
	j.fade(m, t.Add(shareQuiet), ev)
}

// isLeftover: locks, pid files, byte code and the counters that a JVM shows to tools are made anew by each life, and are no state of it.
func isLeftover(name string) bool {
	switch path.Base(name) {
	case "pid", "lock", "LOCK":
		return true
	}
	switch path.Ext(name) {
	case ".pid", ".lock", ".lck", ".pyc":
		return true
	default:
		return strings.HasPrefix(path.Base(path.Dir(name)), "hsperfdata_")
	}
}

func (w *workload) survivesVerdict(subject, name string, src *spoorv1.File, ev *spoorv1.Event, t time.Time) Verdict {
	class := classify(name, behaviour{}).class
	if _, ok := w.dataDir(name); ok {
		class = ClassDatabase
	}
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_HIGH, Time: t, Evidence: []*spoorv1.Event{ev}}
	if class == ClassCache {
		v.Severity = spoorv1.Severity_SEVERITY_LOW
	}
	v.Title = fmt.Sprintf("%s reads what an earlier or another instance of it wrote: %s in %s", w.describe(), subject, keptWhere(src.GetStorageClass()))
	v.Why = fmt.Sprintf("State that outlives an instance makes a service break when it is moved, scaled or rolled out: the next instance finds it, one elsewhere does not. It was read%s.", by(ev))
	v.Fix = fmt.Sprintf("Keep it in a backing service. If it may be lost at any time, or stay, add it to spec.volumes of %s: %s",
		w.contractIn(), Line(Volume{Path: Generalise(name), Class: class}))
	if subject == others {
		v.Title = fmt.Sprintf("%s reads what other instances of it wrote in many more places, last %s", w.describe(), Generalise(name))
	}
	return v
}
