// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// edgeAge is how long a call that was seen counts.
	edgeAge = 24 * time.Hour
	// surveyAfter is how long news of the graph is gathered before it is looked at; surveyEvery is how often it is looked at without.
	surveyAfter, surveyEvery = time.Minute, time.Hour
	// minGraph is how many workloads there must be: of a few, one is always in the middle.
	minGraph = 6
	// minCut is how many workloads must lose something by the loss of one.
	minCut = 3
)

type edgeKey struct{ from, to workloadKey }

// contention is what a workload is found to be in the middle of.
var contention = matterKey{RuleFlowContention, "the service graph"}

// survey is the service graph: who was seen to call whom.
type survey struct {
	alarm
	edges *recent[edgeKey, deed]
	// Workloads that are contended as far as is known.
	found map[workloadKey]bool
}

// meet notes a call between two workloads that are known: flow.contention.
func (j *Judge) meet(w *workload, ev *spoorv1.Event, t time.Time) {
	f := ev.GetFlow()
	other := f.GetPeer().GetWorkload()
	// Everybody asks for names, and the kubelet calls everybody.
	if other.GetName() == "" || !arrived(f) || other.Same(w.id) || !isService(w.id) || !isService(other) || servicePort(f) == 53 {
		return
	}
	from, to := w.id, other
	if f.GetDirection() == spoorv1.Direction_DIRECTION_INBOUND {
		from, to = to, from
	}
	if kubelet(from, ev.GetNode()) {
		return
	}
	s := j.survey
	key := edgeKey{nameOf(from), nameOf(to)}
	_, known := s.edges.get(key)
	s.edges.put(key, deed{ev, t})
	if !known && (s.position == 0 || s.at.After(t.Add(surveyAfter))) {
		j.schedule.set(s, t.Add(surveyAfter))
	}
}

// contended is one workload whose loss cuts the graph, and how.
type contended struct {
	key workloadKey
	// How many others cannot do without it, of how many that are connected with it somehow; and what they no longer reach, besides itself.
	dependents, of, lost int
	evidence             []*spoorv1.Event
}

func (s *survey) expire(j *Judge) {
	now := s.at
	for key, call := range s.edges.all() {
		if now.Sub(call.at) > edgeAge {
			s.edges.remove(key)
		}
	}
	found := map[workloadKey]bool{}
	for _, c := range s.contended() {
		w, ok := j.workloads.get(c.key)
		if !ok || w.policy == nil {
			continue
		}
		found[c.key] = true
		m := j.matter(w, contention.rule, contention.subject)
		m.endless = false
		// The graph changes all the time, and what it means for this workload hardly ever: it is told once.
		if !m.open && j.raise(m, now, c.evidence[len(c.evidence)-1]) {
			v := w.contentionVerdict(&c)
			v.Time, v.Evidence = now, c.evidence
			j.tell(m, v)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.found), workloadKey.compare) {
		if w, ok := j.workloads.get(key); ok && !found[key] {
			if m := w.matters[contention]; m != nil {
				j.quieten(m, now, nil)
			}
		}
	}
	s.found = found
	if s.edges.len() > 0 {
		j.schedule.set(s, now.Add(surveyEvery))
	}
}

// contended looks for single points of contention: one in the middle whose loss parts callers from what they reach through it
// alone, and one at the end on which most depend.
func (s *survey) contended() []contended {
	number := map[workloadKey]int{}
	var keys []workloadKey
	of := func(k workloadKey) int {
		n, ok := number[k]
		if !ok {
			n = len(keys)
			number[k] = n
			keys = append(keys, k)
		}
		return n
	}
	for key := range s.edges.all() {
		of(key.from)
		of(key.to)
	}
	g := newGraph(len(keys))
	for key := range s.edges.all() {
		g.add(number[key.from], number[key.to])
	}
	together := make([][]int, len(keys)) // directions ignored
	for v := range together {
		together[v] = slices.Concat(g.out[v], g.in[v])
	}
	var all []contended
	for v, cut := range g.articulations() {
		upstream := reach(g.in, v, -1)
		c := contended{key: keys[v], dependents: members(upstream)}
		if c.dependents < minCut {
			continue
		}
		// Systems that have nothing to do with each other are judged each for itself.
		c.of = members(reach(together, v, -1))
		switch {
		case c.of+1 < minGraph:
			continue
		case cut && len(g.out[v]) > 0:
			c.dependents, c.lost = g.cutOff(v, upstream)
			if c.dependents < minCut || c.lost == 0 {
				continue
			}
		case len(g.out[v]) > 0 || 2*c.dependents < c.of:
			continue
		}
		c.evidence = s.evidence(keys, g, v)
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b contended) int {
		return cmp.Or(cmp.Compare(b.dependents, a.dependents), a.key.compare(b.key))
	})
	return all
}

// cutOff counts the vertices upstream of v that reach something through v alone, and what they lose.
func (g *graph) cutOff(v int, upstream []bool) (callers, lost int) {
	downstream := reach(g.out, v, -1)
	gone := make([]bool, len(g.out))
	for u, depends := range upstream {
		if !depends {
			continue
		}
		still, loses := reach(g.out, u, v), false
		for d, below := range downstream {
			if below && d != u && !still[d] {
				gone[d], loses = true, true
			}
		}
		if loses {
			callers++
		}
	}
	return callers, members(gone)
}

// evidence is the latest calls of a vertex, at most three, oldest first.
func (s *survey) evidence(keys []workloadKey, g *graph, v int) []*spoorv1.Event {
	var calls []deed
	for _, u := range g.in[v] {
		calls = append(calls, s.edges.peek(edgeKey{keys[u], keys[v]}))
	}
	slices.SortStableFunc(calls, func(a, b deed) int { return a.at.Compare(b.at) })
	var events []*spoorv1.Event
	for _, c := range calls[max(0, len(calls)-3):] {
		events = append(events, c.event)
	}
	return events
}

func (w *workload) contentionVerdict(c *contended) Verdict {
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_LOW}
	if c.lost > 0 {
		v.Title = fmt.Sprintf("%s is the only way by which %d workloads reach %d others", w.describe(), c.dependents, c.lost)
		v.Why = fmt.Sprintf("When it fails, is slow or is replaced, the graph of %d services falls apart at this place: whatever goes through it waits for it.", c.of+1)
	} else {
		v.Title = fmt.Sprintf("%s is what %d of %d other workloads depend on, directly or through others", w.describe(), c.dependents, c.of)
		v.Why = "When it fails, is slow or is replaced, all of them are: their loads add up here, and none of them can be scaled further than it."
	}
	v.Fix = "Have the callers stand its absence (time limits, retries with pauses, an answer of yesterday), give it more than one instance, or part it by what its callers need. If it is meant to be so, acknowledge the finding."
	return v
}
