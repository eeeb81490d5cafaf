// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

type matterKey struct{ rule, subject string }

// matter is one thing that a workload does against its contract. It makes one verdict of many events: told when it
// is new, repeated now and then while it goes on, cleared when all of its causes have been gone for a while.
type matter struct {
	workload *workload
	key      matterKey
	// The verdict as it was last given.
	verdict Verdict
	open    bool
	told    time.Time
	// The event that last said so, with whom something is shared, and what was executed.
	event *spoorv1.Event
	other *spoorv1.Workload
	path  string
	// Files, listeners or instances that are known to go on. When some were lost from sight, or were never
	// such as end, the verdict is not cleared.
	causes  int
	endless bool
	// When the last cause went, and what said so.
	ended   time.Time
	ending  *spoorv1.Event
	relapse int
	dead    bool
	alarm
}

// others is the subject of verdicts beyond what one rule may say about one workload.
const others = "all others"

// matter returns the matter with a subject, which it makes when there is none.
func (j *Judge) matter(w *workload, rule, subject string) *matter {
	if m, ok := w.matters[matterKey{rule, subject}]; ok {
		j.matters.get(m)
		return m
	}
	if !j.roomFor(w, rule) {
		if subject == others {
			return j.newMatter(w, matterKey{rule, subject})
		}
		return j.matter(w, rule, others)
	}
	return j.newMatter(w, matterKey{rule, subject})
}

// roomFor says whether one more matter of a rule may be told of a workload. One that is over makes room.
func (j *Judge) roomFor(w *workload, rule string) bool {
	n := 0
	var over *matter
	for key, m := range w.matters {
		if key.rule == rule {
			n++
			if !m.open && (over == nil || cmp.Or(m.ended.Compare(over.ended), cmp.Compare(key.subject, over.key.subject)) < 0) {
				over = m
			}
		}
	}
	if n < j.limits.MattersPerRule {
		return true
	}
	if over == nil {
		return false
	}
	j.matters.remove(over)
	j.forgetMatter(over)
	return true
}

func (j *Judge) newMatter(w *workload, key matterKey) *matter {
	m := &matter{workload: w, key: key}
	if w.matters == nil {
		w.matters = map[matterKey]*matter{}
	}
	w.matters[key] = m
	j.matters.put(m, struct{}{})
	return m
}

// forgetMatter drops a matter that was taken out of j.matters.
func (j *Judge) forgetMatter(m *matter) {
	m.dead = true
	j.schedule.cancel(m)
	delete(m.workload.matters, m.key)
}

// raise notes that a matter goes on and says whether a verdict is to be given now.
func (j *Judge) raise(m *matter, t time.Time, ev *spoorv1.Event) bool {
	j.schedule.cancel(m)
	m.event = ev
	if m.open && t.Sub(m.told) < j.limits.Repeat {
		return false
	}
	if !m.open && t.Sub(m.ended) > maxClearAfter {
		m.relapse = 0
	}
	m.open, m.told = true, t
	return true
}

// tell gives the verdict of a matter.
func (j *Judge) tell(m *matter, v Verdict) {
	v.Rule, v.Subject, v.Workload = m.key.rule, m.key.subject, m.workload.id
	if p := m.workload.policy; p != nil { // a node has none
		v.Owner, v.Contract = p.owner, p.contract.FullName()
	}
	m.verdict = v
	// The evidence is kept by whoever keeps the verdict; a clearance shows what ended it.
	m.verdict.Evidence = nil
	j.out = append(j.out, v)
}

// settle takes one cause from a matter. When none is left, the verdict is cleared after a while, unless it relapses.
func (j *Judge) settle(m *matter, t time.Time, ev *spoorv1.Event) {
	m.causes--
	j.quieten(m, t, ev)
}

func (j *Judge) quieten(m *matter, t time.Time, ev *spoorv1.Event) {
	if m.dead || !m.open || m.causes > 0 || m.endless {
		return
	}
	m.ended, m.ending = t, ev
	wait := min(j.limits.ClearAfter<<min(m.relapse, 10), maxClearAfter)
	j.schedule.set(m, t.Add(wait))
}

const maxClearAfter = time.Hour

// fade lets a matter that has no cause to watch be over at a time, unless it is raised again before.
func (j *Judge) fade(m *matter, at time.Time, ev *spoorv1.Event) {
	if m.open && !m.dead {
		m.ended, m.ending = at, ev
		j.schedule.set(m, at)
	}
}

// lose notes that a cause can no longer be followed, so that nobody can say when it ends.
func (m *matter) lose() {
	m.causes--
	m.endless = true
}

func (m *matter) expire(j *Judge) {
	if m.causes == 0 && !m.endless {
		j.clear(m, m.ended, m.ending)
	}
}

// clear says that a matter is over.
func (j *Judge) clear(m *matter, t time.Time, ev *spoorv1.Event) {
	if !m.open {
		return
	}
	j.schedule.cancel(m)
	m.open, m.ended, m.ending, m.endless = false, t, nil, false
	m.relapse++
	v := m.verdict
	v.Cleared, v.Time = true, t
	if ev != nil {
		v.Evidence = []*spoorv1.Event{ev}
	}
	j.out = append(j.out, v)
}
