// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

type workloadKey struct{ cluster, namespace, kind, name string }

func (k workloadKey) compare(other workloadKey) int {
	return cmp.Or(cmp.Compare(k.cluster, other.cluster), cmp.Compare(k.namespace, other.namespace), cmp.Compare(k.kind, other.kind), cmp.Compare(k.name, other.name))
}

func nameOf(w *spoorv1.Workload) workloadKey {
	return workloadKey{w.GetCluster(), w.GetNamespace(), w.GetKind(), w.GetName()}
}

// workload is what a Judge knows about one workload. One without a policy has nothing but its id.
type workload struct {
	id     *spoorv1.Workload
	policy *policy `snapshot:"-"`
	labels labelled
	// Which contract applies depends on labels that are not known, and none does.
	unsure  bool `snapshot:"-"`
	matters map[matterKey]*matter
	held    map[heldKey]*heldFlow
	probing *probing
	// Data directories of database servers.
	dataDirs  []string
	instances map[instanceKey]*instance
}

// workload returns the entry of w, which it makes when there is none.
func (j *Judge) workload(w *spoorv1.Workload) *workload {
	key := nameOf(w)
	if wl, ok := j.workloads.get(key); ok {
		return wl
	}
	wl := &workload{id: w}
	wl.policy, wl.unsure = j.apply(wl)
	j.workloads.put(key, wl)
	return wl
}

// apply returns the policy that applies to a workload, and whether there may be one that is not known.
func (j *Judge) apply(w *workload) (p *policy, unsure bool) {
	p, sure := j.set.policy(w.id, w.labels.Labels)
	return p, !sure
}

// onPlainHost says whether a workload runs directly on a node, with the node's file systems and network.
func onPlainHost(w *spoorv1.Workload) bool {
	switch w.GetKind() {
	case "Unit", "Session", "Host", "Kernel", "Container":
		return true
	default:
		return false
	}
}

func (w *workload) state() State { return w.policy.state(w.id.GetKind()) }

// forgetWorkload drops everything that is known about a workload.
func (j *Judge) forgetWorkload(w *workload) {
	for _, in := range w.instances {
		j.instances.remove(in)
		j.forgetInstance(in)
	}
	for _, m := range w.matters {
		j.matters.remove(m)
		j.forgetMatter(m)
	}
	for _, h := range w.held {
		j.dropHeld(h)
	}
}

type instanceKey struct{ node, id string }

// instance is one life of a workload with a contract.
type instance struct {
	key      instanceKey
	workload *workload
	// Of a container in a pod.
	pod, container string
	files          *recent[fileID, *file]
	byPath         map[string]*file
	scratch        []scratchUse
	ports          map[portKey]*matter
	// Processes that are known to run, and whether some may be unknown: then their end proves nothing.
	running int
	partial bool
	// The last process has ended. Summaries of what it did may still come.
	over bool
	// No longer remembered.
	dead bool
}

// scratchUse is what an instance keeps below one scratch path.
type scratchUse struct {
	bytes  uint64
	matter *matter
}

// instance returns the entry of the instance that an event is from, which it makes when there is none.
func (j *Judge) instance(w *workload, ev *spoorv1.Event) *instance {
	key := instanceKey{ev.GetNode(), ev.GetInstance().GetId()}
	if in, ok := w.instances[key]; ok {
		j.instances.get(in)
		return in
	}
	in := &instance{key: key, workload: w, scratch: make([]scratchUse, len(w.policy.scratch)), byPath: map[string]*file{}}
	in.files = newRecent(j.limits.FilesPerInstance, j.giveUpFile)
	in.pod, in.container = ev.GetInstance().GetPodUid(), ev.GetInstance().GetContainerName()
	in.partial = !seenFromTheBeginning(ev)
	if w.instances == nil {
		w.instances = map[instanceKey]*instance{}
	}
	w.instances[key] = in
	j.instances.put(in, struct{}{})
	return in
}

// giveUpFile forgets a file for want of room in its instance.
func (j *Judge) giveUpFile(_ fileID, f *file) {
	j.tracked.evicted++
	j.forgetFile(f)
}

// seenFromTheBeginning says whether the first event of an instance is such that all of its processes will be known:
// the agent tells every process that it finds running, and every one that starts.
func seenFromTheBeginning(ev *spoorv1.Event) bool {
	start := ev.GetProcessStart()
	if start == nil {
		return false
	}
	if start.GetCause() == spoorv1.ProcessStart_CAUSE_FOUND {
		return true
	}
	began := ev.GetInstance().GetStartTime()
	return began.IsValid() && ev.GetTime().IsValid() && ev.GetTime().AsTime().Sub(began.AsTime()).Abs() < time.Minute
}

// forgetInstance drops an instance that was taken out of j.instances. What its verdicts were about may go on unseen.
func (j *Judge) forgetInstance(in *instance) {
	in.dead = true
	delete(in.workload.instances, in.key)
	for _, f := range in.allFiles() {
		j.forgetFile(f)
	}
	for _, m := range in.ports {
		m.lose()
	}
	for i := range in.scratch {
		if m := in.scratch[i].matter; m != nil {
			m.lose()
		}
	}
}

// isSidecar says whether another instance of a workload is the container beside the one of an event, in one pod.
func (w *workload) isSidecar(ev *spoorv1.Event, other string) bool {
	in, ok := w.instances[instanceKey{ev.GetNode(), other}]
	return ok && besideEachOther(ev.GetInstance(), &spoorv1.Instance{PodUid: in.pod, ContainerName: in.container})
}

// besideEachOther: two containers of one pod live and die together. Two lives of one container do not.
func besideEachOther(a, b *spoorv1.Instance) bool {
	return a.GetPodUid() != "" && a.GetPodUid() == b.GetPodUid() && a.GetContainerName() != b.GetContainerName()
}

func (in *instance) allFiles() []*file {
	files := make([]*file, 0, in.files.len())
	for _, f := range in.files.all() {
		files = append(files, f)
	}
	return files
}

type processKey struct {
	node string
	tgid uint32
}

// follow keeps count of the processes that an instance has, to notice its end. A process that changes its cgroup, as
// the first of a unit or a container does, takes its count along. One that has ended is remembered as nobody's, so
// that late summaries of what it did do not bring it back; only a start does, when its number is used again.
func (j *Judge) follow(in *instance, ev *spoorv1.Event, t time.Time) {
	tgid := ev.GetProcess().GetTgid()
	if tgid == 0 || in == nil && j.processes.len() == 0 {
		return
	}
	key := processKey{ev.GetNode(), tgid}
	before, known := j.processes.get(key)
	after := in
	switch {
	case ev.GetProcessExit() != nil:
		after = nil
	case known && before == nil && ev.GetProcessStart() == nil:
		return
	}
	if known && before == after {
		return
	}
	if after != nil {
		after.running++
		after.over = false
	}
	if known || after != nil {
		j.processes.put(key, after)
	}
	if before != nil {
		before.running--
		if before.running == 0 && !before.partial && !before.dead {
			before.over = true
			j.ended(before, ev, t)
		}
	}
}

// ended is called when the last process of an instance is gone: what lived and died with it is no longer a cause.
func (j *Judge) ended(in *instance, ev *spoorv1.Event, t time.Time) {
	for _, f := range in.allFiles() {
		if f.diesWithInstance() {
			j.gone(f, t, ev)
		}
	}
	for key, m := range in.ports {
		delete(in.ports, key)
		j.settle(m, t, ev)
	}
}
