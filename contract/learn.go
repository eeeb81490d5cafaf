// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// LearnOptions say when a workload was watched for long enough, and how much is kept meanwhile. Zero values
// mean the defaults.
type LearnOptions struct {
	// How long a workload must have been seen: 24 hours.
	For time.Duration
	// How long nothing new must have been seen of it: 1 hour.
	Quiet time.Duration
	// How many of its instances must have been seen, so that a start and a stop are among it: 2.
	Instances int
	// Workloads that are learned at a time: 4096; files, peers and ports of one: 2048. What is more is counted.
	Workloads, Facts int
}

func (o LearnOptions) withDefaults() LearnOptions {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.Instances, 2)
	set(&o.Workloads, 4096)
	set(&o.Facts, 2048)
	if o.For <= 0 {
		o.For = day
	}
	if o.Quiet <= 0 {
		o.Quiet = time.Hour
	}
	return o
}

// Learner turns what workloads were seen to do into contracts for people to review. It is not safe for concurrent
// use. It never decides: what looks like a mistake or an attack, because it was seen once, was never answered, or
// is state where none should be, is written as a remark that a person has to uncomment.
type Learner struct {
	options   LearnOptions
	workloads map[workloadKey]*lesson
	// Workloads beyond the limit, by event.
	ignored uint64
	names   *recent[nameKey, []string]
	// Nodes that report changes of names.
	renamers *recent[string, struct{}]
	// What nodes say that they lost.
	losses *recent[string, uint64]
	// Who wrote a file last, of those that several can reach.
	writers *recent[fileID, *spoorv1.Workload]
}

// NewLearner returns a Learner that knows nothing.
func NewLearner(o LearnOptions) *Learner {
	return &Learner{
		options: o.withDefaults(), workloads: map[workloadKey]*lesson{},
		names:    newRecent[nameKey, []string](65536, nil),
		renamers: newRecent[string, struct{}](65536, nil),
		losses:   newRecent[string, uint64](65536, nil),
		writers:  newRecent[fileID, *spoorv1.Workload](16384, nil),
	}
}

// lesson is what is known of one workload.
type lesson struct {
	id          *spoorv1.Workload
	labels      labelled
	first, last time.Time
	// When something was seen for the first time, last.
	news      time.Time
	instances map[instanceKey]bool
	nodes     map[string]bool
	files     map[string]*fileFact
	live      *recent[fileID, *liveFile]
	ports     map[portFactKey]*fact
	calls     map[peerKey]*peerFact
	callers   map[peerKey]*peerFact
	shares    map[sharedKey]*sharedFact
	dropped   uint64
}

// fact is what all things that are learned have in common.
type fact struct {
	events      int
	first, last time.Time
	instances   map[instanceKey]bool
	// The program that did it first.
	by string
}

// maxInstances bounds the instances that one fact remembers; more than that is as good as all.
const maxInstances = 64

func (f *fact) add(ev *spoorv1.Event, t time.Time) {
	if f.events == 0 {
		f.first, f.instances, f.by = t, map[instanceKey]bool{}, printable(ev.GetProcess().GetComm())
	}
	f.events++
	f.first, f.last = earlier(f.first, t), later(f.last, t)
	if len(f.instances) < maxInstances {
		f.instances[instanceKey{ev.GetNode(), ev.GetInstance().GetId()}] = true
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Observe takes the next event.
func (l *Learner) Observe(ev *spoorv1.Event) {
	t := timeOr(ev.GetTime(), time.Time{})
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_Dns:
		learnNames(l.names, ev.GetNode(), f.Dns)
	case *spoorv1.Event_FileChange:
		l.renamers.put(ev.GetNode(), struct{}{})
	case *spoorv1.Event_Loss:
		n, _ := l.losses.get(ev.GetNode())
		l.losses.put(ev.GetNode(), n+f.Loss.GetCount())
	}
	w := ev.GetInstance().GetWorkload()
	if w == nil || t.IsZero() {
		return
	}
	s := l.lesson(w)
	if s == nil {
		l.ignored++
		return
	}
	s.labels.note(ev.GetInstance())
	if s.first.IsZero() {
		s.first, s.last, s.news = t, t, t
	}
	s.first, s.last = earlier(s.first, t), later(s.last, t)
	if len(s.nodes) < maxInstances {
		s.nodes[ev.GetNode()] = true
	}
	if in := (instanceKey{ev.GetNode(), ev.GetInstance().GetId()}); len(s.instances) < maxInstances {
		s.instances[in] = true
	}
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_FileWrite:
		s.write(l, ev, f.FileWrite, t)
		s.writeTogether(l, ev, f.FileWrite, t)
	case *spoorv1.Event_Share:
		s.join(l, ev, f.Share, t)
	case *spoorv1.Event_FileChange:
		s.change(l, ev, f.FileChange, t)
	case *spoorv1.Event_Flow:
		s.flow(l, ev, f.Flow, t)
	case *spoorv1.Event_Listen:
		s.listen(l, ev, f.Listen, t)
	}
}

func (l *Learner) lesson(w *spoorv1.Workload) *lesson {
	key := nameOf(w)
	s := l.workloads[key]
	if s == nil && len(l.workloads) < l.options.Workloads {
		s = &lesson{
			id: w, instances: map[instanceKey]bool{}, nodes: map[string]bool{}, files: map[string]*fileFact{},
			ports: map[portFactKey]*fact{}, calls: map[peerKey]*peerFact{}, callers: map[peerKey]*peerFact{}, shares: map[sharedKey]*sharedFact{},
		}
		s.live = newRecent(4096, func(_ fileID, f *liveFile) { f.end() })
		l.workloads[key] = s
	}
	return s
}

// isNew notes that something was seen for the first time, and says whether there is room for it.
func (s *lesson) isNew(l *Learner, t time.Time) bool {
	if len(s.files)+len(s.ports)+len(s.calls)+len(s.callers)+len(s.shares) >= l.options.Facts {
		s.dropped++
		return false
	}
	s.news = later(s.news, t)
	return true
}

// Workloads returns the workloads that were seen, in the order of their names.
func (l *Learner) Workloads() []*spoorv1.Workload {
	var all []*spoorv1.Workload
	for _, s := range l.workloads {
		all = append(all, s.id)
	}
	slices.SortFunc(all, func(a, b *spoorv1.Workload) int {
		return strings.Compare(workloadName(a), workloadName(b))
	})
	return all
}

// Labels returns what is known of the labels of a workload.
func (l *Learner) Labels(w *spoorv1.Workload) Labels {
	if s := l.workloads[nameOf(w)]; s != nil {
		return s.labels.Labels
	}
	return Labels{}
}

// missing says why a workload was not watched for long enough, one sentence each.
func (s *lesson) missing(l *Learner) []string {
	var why []string
	if seen := s.last.Sub(s.first); seen < l.options.For {
		why = append(why, fmt.Sprintf("it was seen for %s, less than %s", Duration(seen), Duration(l.options.For)))
	}
	if n := len(s.instances); n < l.options.Instances {
		why = append(why, fmt.Sprintf("%s of it was seen, so what it does at start and stop may be missing", count(n, "instance")))
	}
	if quiet := s.last.Sub(s.news); quiet < l.options.Quiet {
		why = append(why, fmt.Sprintf("it did something new %s before the end, less than %s", Duration(quiet), Duration(l.options.Quiet)))
	}
	if s.dropped > 0 {
		why = append(why, fmt.Sprintf("it did more different things than are kept: %d were left out", s.dropped))
	}
	var lost uint64
	for node := range s.nodes {
		n, _ := l.losses.get(node)
		lost += n
	}
	if lost > 0 {
		why = append(why, "the agents on its nodes lost "+facts(lost))
	}
	return why
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
