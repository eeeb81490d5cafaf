// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"reflect"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Limits says how much a Judge remembers and how often it speaks. Nothing that workloads do makes it remember more;
// what it gives up is counted in [Stats].
type Limits struct {
	// Workloads that were seen lately, with or without a contract.
	Workloads int
	// Instances of workloads with a contract.
	Instances int
	// Files that are watched for their age, their size and their end: in all, and of one instance.
	Files, FilesPerInstance int
	// Things that verdicts are about: in all, and of one rule in one workload. Beyond the latter, verdicts are
	// about "all others" together.
	Matters, MattersPerRule int
	// Flows that wait for the identity of their peer.
	Held int
	// Addresses whose DNS names are known.
	Names int
	// Processes that are known to run, so that an instance's end is noticed.
	Processes int

	// How long a file outside of scratch and volumes must be there before that is a verdict: what is made and removed is scratch,
	// whoever makes it.
	Settle time.Duration
	// A verdict whose matter goes on is repeated at most this often.
	Repeat time.Duration
	// How long a flow waits for the identity of its peer.
	Grace time.Duration
	// How long a cause must be gone before its verdict is cleared, the first time; doubled at each relapse, up to an hour.
	ClearAfter time.Duration
}

// DefaultLimits are the limits of NewJudge: some 100 MiB when every one of them is reached.
func DefaultLimits() Limits {
	return Limits{
		Workloads: 16384, Instances: 8192, Files: 65536, FilesPerInstance: 4096,
		Matters: 16384, MattersPerRule: 64, Held: 8192, Names: 65536, Processes: 65536,
		Settle: 30 * time.Second, Repeat: 5 * time.Minute, Grace: 10 * time.Second, ClearAfter: 10 * time.Second,
	}
}

// Judge compares events with contracts. It is not safe for concurrent use. It keeps events for later evidence, so
// they must not be changed after they were handed to it.
type Judge struct {
	set    *Set `snapshot:"-"`
	limits Limits
	// The time of the last event or tick, for events that bear none.
	now time.Time
	// Verdicts of the running call.
	out []Verdict

	workloads *recent[workloadKey, *workload]
	instances *recent[*instance, struct{}]
	processes *recent[processKey, *instance]
	matters   *recent[*matter, struct{}]
	held      *recent[*heldFlow, struct{}]
	tracked   *recent[*file, struct{}]
	departed  *recent[fileID, departure]
	shared    *recent[fileID, *sharing]
	names     *recent[nameKey, []string]
	// What instances wrote and executed lately, and who calls which backing store.
	written, executed *recent[programKey, deed]
	stores            *recent[storeKey, *backingStore]
	survey            *survey
	nodes             *recent[string, *nodeView]
	// Nodes that report DNS answers, and nodes that report changes of names: the others are blind to them.
	named    *recent[string, struct{}]
	renamers *recent[string, struct{}]
	schedule schedule
	files    map[fileID]*file
	unjudged Unjudged
}

// NewJudge returns a Judge with the default limits. The set may be nil: then there is nothing to judge by.
func NewJudge(s *Set) *Judge { return NewJudgeWithLimits(s, DefaultLimits()) }

// NewJudgeWithLimits returns a Judge that remembers as much as it is told to.
func NewJudgeWithLimits(s *Set, limits Limits) *Judge {
	j := &Judge{set: s, limits: limits, files: map[fileID]*file{}}
	j.workloads = newRecent(limits.Workloads, func(_ workloadKey, w *workload) { j.forgetWorkload(w) })
	j.instances = newRecent(limits.Instances, func(i *instance, _ struct{}) { j.forgetInstance(i) })
	j.processes = newRecent(limits.Processes, func(_ processKey, i *instance) {
		if i != nil {
			i.partial = true
		}
	})
	j.matters = newRecent(limits.Matters, func(m *matter, _ struct{}) { j.forgetMatter(m) })
	j.held = newRecent(limits.Held, func(h *heldFlow, _ struct{}) { j.forgetHeld(h) })
	j.tracked = newRecent(limits.Files, func(f *file, _ struct{}) { j.forgetFile(f) })
	j.departed = newRecent[fileID, departure](min(limits.Files, 8192), nil)
	j.shared = newRecent[fileID, *sharing](min(limits.Files, 16384), nil)
	j.names = newRecent[nameKey, []string](limits.Names, nil)
	j.written = newRecent[programKey, deed](min(limits.Files, 32768), nil)
	j.executed = newRecent[programKey, deed](min(limits.Files, 8192), nil)
	j.stores = newRecent[storeKey, *backingStore](min(limits.Held, 4096), nil)
	j.survey = &survey{edges: newRecent[edgeKey, deed](min(limits.Names, 16384), nil)}
	j.nodes = newRecent[string, *nodeView](limits.Workloads, nil)
	j.named = newRecent[string, struct{}](limits.Names, nil)
	j.renamers = newRecent[string, struct{}](limits.Names, nil)
	return j
}

// Observe takes the next event and returns the verdicts that follow from it at once. Events come in the
// order in which they became known; those of one node may be late and those of several nodes interleaved.
func (j *Judge) Observe(ev *spoorv1.Event) []Verdict {
	if ev == nil {
		return nil
	}
	t := j.timeOf(ev)
	j.learn(ev)
	j.blind(ev, t)
	w := ev.GetInstance().GetWorkload()
	if w == nil {
		j.change(nil, ev, t)
		return j.take()
	}
	wl := j.workload(w)
	if wl.labels.note(ev.GetInstance()) {
		j.reapply(wl)
	}
	if wl.unsure {
		j.unjudged.Labels++
	}
	if wl.policy == nil {
		// Nothing is judged, but its processes may have come out of a workload that is, and it may clean up
		// behind one or share a file with it.
		j.follow(nil, ev, t)
		j.change(nil, ev, t)
		if w := ev.GetFileWrite(); w != nil {
			j.share(wl, ev, w, t)
		}
		if s := ev.GetShare(); s != nil {
			j.readByOther(wl, ev, s, t)
		}
		if ev.GetFlow() != nil {
			j.backing(wl, ev, t, true)
			j.meet(wl, ev, t)
		}
		return j.take()
	}
	in := j.instance(wl, ev)
	j.follow(in, ev, t)
	j.guard(in, t)
	j.drift(in, ev, t)
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_FileWrite:
		j.write(in, ev, fact.FileWrite, t)
		j.share(wl, ev, fact.FileWrite, t)
	case *spoorv1.Event_Share:
		j.survives(in, ev, fact.Share, t)
		j.readByOther(wl, ev, fact.Share, t)
		j.join(wl, ev, fact.Share, t)
	case *spoorv1.Event_FileChange:
		j.change(in, ev, t)
	case *spoorv1.Event_Flow:
		j.flow(wl, ev, t)
		j.probe(wl, ev, fact.Flow, t)
		j.backing(wl, ev, t, true)
		j.meet(wl, ev, t)
	case *spoorv1.Event_Listen:
		j.listen(in, ev, fact.Listen, t)
	}
	return j.take()
}

// Tick says what time it is and returns the verdicts that only time brings: files that have become too old, flows
// whose peer stayed unknown, and clearances. Call it every second or so; in a replay, with the events' time.
func (j *Judge) Tick(now time.Time) []Verdict {
	j.now = now
	for {
		v, ok := j.schedule.due(now)
		if !ok {
			return j.take()
		}
		v.expire(j)
	}
}

// Reload goes over to another set of contracts. What the new contracts allow is cleared, what they forbid shows with
// the next event; whatever is the same in both stays as it is.
func (j *Judge) Reload(s *Set) []Verdict {
	j.set = s
	for _, w := range j.workloads.all() {
		j.reapply(w)
	}
	return j.take()
}

// reapply judges a workload by the contract that applies to it now.
func (j *Judge) reapply(w *workload) {
	before := w.policy
	after, unsure := j.apply(w)
	w.unsure = unsure
	switch {
	case before == nil && after == nil:
	case before == nil || after == nil:
		for _, m := range w.matters {
			j.clear(m, j.now, nil)
		}
		j.forgetWorkload(w)
		w.policy = after
	default:
		w.policy = after
		if !sameAgreement(before.contract, after.contract) {
			j.reconsider(w)
		}
	}
}

// sameAgreement says whether two contracts differ at most in where they stand and in words without meaning.
func sameAgreement(a, b *Contract) bool {
	return a.FullName() == b.FullName() && reflect.DeepEqual(a.Spec, b.Spec)
}

func (j *Judge) take() []Verdict {
	out := j.out
	j.out = nil
	return out
}

// timeOf is when an event happened, or the last known time for one that does not say.
func (j *Judge) timeOf(ev *spoorv1.Event) time.Time {
	j.now = timeOr(ev.GetTime(), j.now)
	return j.now
}

func timeOr(t *timestamppb.Timestamp, other time.Time) time.Time {
	if t == nil || !t.IsValid() {
		return other
	}
	return t.AsTime()
}

// Stats is what a Judge remembers and what it had to give up.
type Stats struct {
	Workloads, Instances, Files, Matters, Held, Names, Processes int
	// Given up for want of room since the Judge was made. A file that was given up is no longer watched for its
	// age and its end; a matter that was given up is told anew when it goes on; a held flow that was given up is told
	// without waiting.
	EvictedWorkloads, EvictedInstances, EvictedFiles, EvictedMatters, EvictedHeld, EvictedNames, EvictedProcesses uint64
	// Files that were written or executed, backing stores, edges of the service graph, and nodes.
	EvictedPrograms, EvictedStores, EvictedEdges, EvictedNodes uint64
	Unjudged                                                   Unjudged
}

// Unjudged counts events that a rule was meant for and could not decide.
type Unjudged struct {
	// Writes to files whose storage class is unknown.
	StorageClass uint64
	// Writes to files whose path lacks its beginning, where a wide pattern of the contract may cover it.
	Path uint64
	// Callers of a backing store beyond those that are told apart.
	StoreUsers uint64
	// Events of workloads whose contract depends on labels that nobody told.
	Labels uint64
}

// Stats returns the Judge's counters.
func (j *Judge) Stats() Stats {
	return Stats{
		Workloads: j.workloads.len(), Instances: j.instances.len(), Files: j.tracked.len(), Matters: j.matters.len(),
		Held: j.held.len(), Names: j.names.len(), Processes: j.processes.len(),
		EvictedWorkloads: j.workloads.evicted, EvictedInstances: j.instances.evicted, EvictedFiles: j.tracked.evicted,
		EvictedMatters: j.matters.evicted, EvictedHeld: j.held.evicted, EvictedNames: j.names.evicted,
		EvictedProcesses: j.processes.evicted, EvictedPrograms: j.written.evicted + j.executed.evicted, EvictedStores: j.stores.evicted,
		EvictedEdges: j.survey.edges.evicted, EvictedNodes: j.nodes.evicted, Unjudged: j.unjudged,
	}
}
