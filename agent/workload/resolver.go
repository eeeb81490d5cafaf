// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/recent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How long the events of a container wait for its name.
const patience = 5 * time.Second

// Resolver names the instance behind a cgroup id. It is not safe for concurrent use.
type Resolver struct {
	o         Options
	instances *cgroups
	// Which cgroup has a container's name: the first that came with its id. Whoever may make cgroups of his own can call
	// them like somebody else's.
	claims *recent.Map[string, claim]
	// The cgroup that stands for an owner, by its path: those below it are parts of the same instance.
	tops    *lru.LRU[top, *Instance]
	waiting map[*Instance]struct{} // pending, or with more to come some day
	seen    uint64                 // of the directory's answers
	host    *Instance
	kernel  *Instance
	// Whose cgroup tells nothing: the host, or, when only a branch is looked at, somebody else.
	unknown *Instance
	unnamed uint64
}

type claim struct {
	path string
	key  uint64
}

type top struct {
	hierarchy uint32
	path      string
}

// Options of a Resolver.
type Options struct {
	Cluster, Node, BootID string
	// The trees to look at; both may be nil.
	Unified, V1 *Hierarchy
	// The branch of both to look at, a path below their mounts; "" is all of it. Whoever is not in it is Elsewhere.
	Below string
	// What is told of containers; nil when nobody tells.
	Directory *Directory
	// Where containerd keeps its tasks, one folder for each as NAMESPACE/ID: what it runs outside Kubernetes and without a
	// telling name (ctr) is known by that.
	Tasks []string
	// Makes wall-clock time of nanoseconds since boot; nil leaves unknown when the cgroups that are there began.
	Time func(ns uint64) time.Time
}

// New returns a Resolver that knows every cgroup that exists now.
func New(o Options) (*Resolver, error) {
	r := &Resolver{o: o, waiting: map[*Instance]struct{}{}, claims: recent.New[string, claim](remembered, 0)}
	var err error
	r.instances, err = newCgroups(func(id uint64, in *Instance) {
		if in.proto.GetCgroupId() == id {
			r.forget(id, in)
		}
	})
	if err != nil {
		return nil, err
	}
	if r.tops, err = lru.NewLRU[top, *Instance](remembered, nil); err != nil {
		return nil, fmt.Errorf("remember cgroups: %w", err)
	}
	r.host = NewInstance(r.proto(0, "/", Owner{Kind: KindHost, Name: o.Node}, time.Time{}))
	r.kernel = NewInstance(r.proto(1, "", Owner{Kind: KindKernel, Name: "kernel"}, time.Time{}))
	r.unknown = r.host
	if o.Below != "" {
		r.unknown = &Instance{proto: r.host.proto, elsewhere: true}
		r.kernel = r.unknown
	}
	r.Scan()
	return r, nil
}

// Scan walks the cgroup trees and learns what it does not know.
func (r *Resolver) Scan() {
	for _, h := range []*Hierarchy{r.o.Unified, r.o.V1} {
		if h == nil || h.Mount == "" {
			continue
		}
		//nolint:errcheck // a cgroup that vanishes while it is walked is simply not learnt
		filepath.WalkDir(h.Mount, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil
			}
			var st unix.Stat_t
			if unix.Stat(path, &st) != nil {
				return nil
			}
			id := Key(h.ID, st.Ino)
			if _, known := r.instances.get(id); !known {
				r.Learn(id, strings.TrimPrefix(path, h.Mount), r.began(path))
			}
			return nil
		})
	}
}

// began says since when a cgroup that was there before is in use; zero when nobody is in it. The times of the directory
// itself are those of its entry in the cache.
func (r *Resolver) began(dir string) time.Time {
	if r.o.Time == nil {
		return time.Time{}
	}
	ns := oldest(dir)
	if ns == 0 {
		return time.Time{}
	}
	return r.o.Time(ns)
}

// Learn says that the cgroup with this id (as Key makes it) has this path below its hierarchy's mount, since start.
func (r *Resolver) Learn(id uint64, path string, start time.Time) {
	if n := hierarchyOf(id); n != 0 && (r.o.V1 == nil || r.o.V1.ID != n) {
		return // another controller's tree, which shows the same
	}
	if path == "" {
		path = "/"
	}
	if _, known := r.instances.get(id); known { // its path does not change
		return
	}
	if !r.within(path) {
		r.instances.add(id, r.unknown)
		return
	}
	owner := OwnerOf(path)
	if owner.Kind == KindHost {
		owner = r.task(path)
	}
	if owner.Kind == KindHost {
		r.instances.add(id, r.host)
		return
	}
	if owner.Path != path {
		if in, known := r.tops.Get(top{hierarchyOf(id), owner.Path}); known {
			r.instances.add(id, in)
			return
		}
	}
	in := &Instance{proto: r.proto(id, path, owner, start), owner: owner}
	r.instances.add(id, in)
	r.tops.Add(top{hierarchyOf(id), path}, in)
	if r.o.Directory == nil || (owner.ContainerID == "" && owner.PodUID == "") {
		return
	}
	if c, ok := r.claims.Get(owner.ContainerID); ok && c.path == path && c.key != id && hierarchyOf(c.key) == hierarchyOf(id) {
		r.o.Directory.Refresh(owner.ContainerID) // it was started again: its count of starts is another
	}
	if owner.ContainerID != "" { // a pod's own cgroup is made long before the pod, and hardly ever has processes
		r.await(in)
	}
}

// within says whether a path is in the branch that is looked at.
func (r *Resolver) within(path string) bool {
	_, ok := below(path, r.o.Below)
	return ok || r.o.Below == ""
}

func (r *Resolver) await(in *Instance) {
	r.waiting[in] = struct{}{}
	in.pending = true
	if r.name(in) == nothing {
		r.o.Directory.want(in.want())
	}
}

// use says that a process is in the instance.
func (r *Resolver) use(in *Instance) *Instance {
	if !in.used {
		in.used = true
		if in.owner.ContainerID == "" && in.owner.PodUID != "" && r.o.Directory != nil {
			r.await(in)
		}
	}
	return in
}

// task says whether a path without any telling name is that of a containerd task.
func (r *Resolver) task(path string) Owner {
	dir, id := filepath.Split(strings.TrimSuffix(path, "/"))
	namespace := filepath.Base(dir)
	if id == "" || namespace == "/" || namespace == "." {
		return Owner{Kind: KindHost}
	}
	for _, tasks := range r.o.Tasks {
		if st, err := os.Stat(filepath.Join(tasks, namespace, id)); err == nil && st.IsDir() {
			return Owner{Kind: KindContainer, Name: id, Path: path}
		}
	}
	return Owner{Kind: KindHost}
}

// Of returns the instance of the cgroup with this id; tgid is a process in it, asked when the cgroup is not known yet.
func (r *Resolver) Of(id uint64, tgid uint32, kernelThread bool) *Instance {
	if kernelThread {
		return r.kernel
	}
	if in, ok := r.instances.get(id); ok {
		return r.use(in)
	}
	hierarchy := r.o.Unified
	if hierarchyOf(id) != 0 {
		hierarchy = r.o.V1
	}
	if hierarchy == nil {
		hierarchy = &Hierarchy{}
	}
	path, err := hierarchy.path(id &^ (0xff << hierarchyShift))
	if err != nil {
		path, err = hierarchy.pathOf(tgid)
	}
	if err != nil {
		return r.unknown
	}
	start := time.Time{}
	if hierarchy.Mount != "" {
		start = r.began(filepath.Join(hierarchy.Mount, path))
	}
	r.Learn(id, path, start)
	if in, ok := r.instances.get(id); ok {
		return r.use(in)
	}
	return r.unknown
}

// Host returns the instance that stands for the node itself.
func (r *Resolver) Host() *Instance { return r.host }

// Settle names what can be named now. What waited too long goes with what is known, and is counted; it is named when that
// comes later all the same. It returns how many instances with processes are pending still. It also forgets cgroups that are gone.
func (r *Resolver) Settle(now time.Time) int {
	r.instances.forget(now, r.alive)
	if r.o.Directory == nil {
		return 0
	}
	answers := r.o.Directory.answers()
	news := answers != r.seen
	r.seen = answers
	pending := 0
	// First those that are in no other container: to them belong the names that an inner one may have taken.
	for _, inner := range []bool{false, true} {
		for in := range r.waiting {
			if (in.owner.Outer != "") != inner {
				continue
			}
			if in.since.IsZero() {
				in.since = now
			} else if !news && (!in.pending || now.Sub(in.since) < patience) {
				if in.pending && in.used {
					pending++
				}
				continue
			}
			r.name(in)
			if in.pending && now.Sub(in.since) >= patience {
				r.giveUp(in)
			}
			if in.pending && in.used {
				pending++
			}
		}
	}
	return pending
}

// GiveUp lets the events of an instance go without its name.
func (r *Resolver) GiveUp(in *Instance) {
	if in.pending {
		r.giveUp(in)
	}
}

func (r *Resolver) giveUp(in *Instance) {
	in.pending = false
	r.o.Directory.forget(in.want())
	if in.owner.Outer != "" { // a container in a container that nobody here manages: it belongs to the outer one
		outer := OwnerOf(in.owner.Outer)
		if proto, known := r.lookUp(in.proto, outer); known != nothing {
			in.proto = proto
			return
		}
	}
	if pod, ok := r.o.Directory.pod(in.owner.PodUID); ok && in.owner.User == "" && in.proto.GetPodName() == "" { // the container's name is not to be had, its owner's is
		by, _ := r.o.Directory.controller(&pod)
		in.proto = named(in.proto, r.o.Node, nil, &pod, by, r.o.Directory.labelsOf(&pod))
	}
	if in.used && in.proto.GetContainerName() == "" && in.proto.GetPodName() == "" {
		r.unnamed++
	}
}

// forget drops what is known of an instance that is over. A container that is started again is asked for again; its claim stays, so that nobody
// else takes its name.
func (r *Resolver) forget(id uint64, in *Instance) {
	r.abandon(in)
	at := top{hierarchyOf(id), in.proto.GetCgroupPath()}
	if latest, ok := r.tops.Peek(at); ok && latest == in {
		r.tops.Remove(at)
	}
	if c, ok := r.claims.Peek(in.owner.ContainerID); ok && c.key == id {
		r.o.Directory.drop(in.owner.ContainerID)
	}
}

func (r *Resolver) abandon(in *Instance) {
	if _, ok := r.waiting[in]; !ok {
		return
	}
	delete(r.waiting, in)
	if in.pending {
		in.pending = false
		r.o.Directory.forget(in.want())
		if in.used {
			r.unnamed++
		}
	}
}

// name binds what is told of an instance's owner.
func (r *Resolver) name(in *Instance) certainty {
	if c, taken := r.claims.Get(in.owner.ContainerID); taken && c.path != in.owner.Path {
		return nothing
	}
	proto, known := r.lookUp(in.proto, in.owner)
	if known == nothing {
		return nothing
	}
	in.proto = proto
	// Of two lives at one place the later one, whose cgroup has the greater number, has it, whichever is named first.
	if c, _ := r.claims.Get(in.owner.ContainerID); in.owner.ContainerID != "" && c.key <= in.proto.GetCgroupId() {
		r.claims.Put(in.owner.ContainerID, claim{in.owner.Path, in.proto.GetCgroupId()})
	}
	if known != soon {
		in.pending = false
	}
	if known == final {
		delete(r.waiting, in)
	}
	return known
}

// lookUp returns proto with what is told of its owner.
func (r *Resolver) lookUp(proto *spoorv1.Instance, owner Owner) (*spoorv1.Instance, certainty) {
	d := r.o.Directory
	if owner.ContainerID == "" {
		pod, ok := d.pod(owner.PodUID)
		if !ok || owner.User != "" {
			return nil, nothing
		}
		by, known := d.controller(&pod)
		return named(proto, r.o.Node, nil, &pod, by, d.labelsOf(&pod)), known
	}
	c, ok := d.Container(owner.ContainerID)
	if !ok || c.User != owner.User {
		return nil, nothing
	}
	if c.Pod == nil {
		return named(proto, r.o.Node, &c, nil, Controller{}, c.Labels), final
	}
	if owner.PodUID != "" && owner.PodUID != c.Pod.UID {
		return nil, nothing
	}
	by, known := d.controller(c.Pod)
	return named(proto, r.o.Node, &c, c.Pod, by, d.labelsOf(c.Pod)), known
}

// Evicted returns how many cgroups were forgotten for want of room.
func (r *Resolver) Evicted() uint64 { return r.instances.evicted }

// Unnamed returns how many containers were sent without a name, because it did not come in time.
func (r *Resolver) Unnamed() uint64 { return r.unnamed }

// Len returns how many cgroups are remembered.
func (r *Resolver) Len() int { return r.instances.all.Len() }

func (r *Resolver) proto(id uint64, path string, o Owner, start time.Time) *spoorv1.Instance {
	in := &spoorv1.Instance{
		Workload:    &spoorv1.Workload{Cluster: r.o.Cluster, Namespace: r.o.Node, Kind: o.Kind, Name: o.Name},
		CgroupId:    id,
		CgroupPath:  strings.ToValidUTF8(path, "\uFFFD"),
		ContainerId: o.ContainerID,
		PodUid:      o.PodUID,
	}
	if o.Kind == KindContainer && o.ContainerID == "" {
		in.ContainerName = o.Name
	}
	if !start.IsZero() {
		in.StartTime = timestamppb.New(start)
	}
	sum := sha256.New()
	sum.Write([]byte(r.o.Node))
	sum.Write([]byte{0})
	sum.Write([]byte(r.o.BootID))
	sum.Write(binary.LittleEndian.AppendUint64(nil, id))
	in.Id = strings.ToLower(base32.StdEncoding.EncodeToString(sum.Sum(nil)[:10]))
	return in
}
