// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
)

// Container is what a runtime tells of one container.
type Container struct {
	// 64 hex digits.
	ID   string
	Name string
	// The uid of the user whose own runtime tells; "" is the system's.
	User string
	// When the runtime made it; zero when it does not say.
	Created time.Time
	// How many lives it, or the containers of this name in its pod, had before.
	Restarts uint32
	// Outside Kubernetes, what several containers are copies of (a service of a composition); "" when it stands for
	// itself.
	Service string
	// Outside Kubernetes.
	Labels Labels
	// In Kubernetes.
	Pod *Pod
}

// Pod is what is known of one pod.
type Pod struct {
	UID, Namespace, Name string
	Controller           Controller
	Labels               Labels
	// The API server knows it under another uid.
	Static bool
}

// Source tells a Directory of containers or pods.
type Source interface {
	// Run tells d what there is and what comes, and looks for what d wants, until ctx ends; then it returns nil. What
	// it cannot reach it tries again.
	Run(ctx context.Context, d *Directory) error
}

// Want is a container or pod that a process was seen in and that nobody has told of.
type Want struct {
	// One of the two may be empty.
	ContainerID, PodUID string
	// The uid of the user whose service manager made the cgroup: only what that user has may be told.
	User string
}

const (
	// How many containers and pods are remembered, ended ones too: many times what a node runs. Events that wait for a name do so for
	// seconds, and what was named keeps its name without this.
	rememberedContainers = 4096
	rememberedPods       = 2048
	// How many are looked for at a time; others are found when one of these is.
	maxWanted = 1024
	// Bytes of a name that are kept. Kubernetes allows 253.
	maxName = 256
)

// certainty says what is known of an owner.
type certainty int

const (
	nothing certainty = iota
	soon              // something, and more is about to come
	later             // something, and more will come some day
	final
)

// Directory is what runtimes and the cluster have told. It is safe for concurrent use.
type Directory struct {
	mu         sync.Mutex
	containers *lru.LRU[string, Container]
	pods       *lru.LRU[string, Pod]
	owners     *lru.LRU[string, Controller] // by pod uid, as the API server has it
	volumes    *lru.LRU[string, []VolumeMount]
	labels     *lru.LRU[string, Labels] // by pod uid, as the API server has them
	cluster    bool                     // an API server tells of this node's pods,
	following  bool                     // and does now
	wanted     map[Want]struct{}
	changed    chan struct{} // closed and replaced when wanted grows
	version    uint64        // grows with every answer
}

// NewDirectory returns an empty Directory.
func NewDirectory() (*Directory, error) {
	d := &Directory{wanted: map[Want]struct{}{}, changed: make(chan struct{})}
	var err error
	if d.containers, err = lru.NewLRU[string, Container](rememberedContainers, nil); err != nil {
		return nil, fmt.Errorf("remember containers: %w", err)
	}
	if d.pods, err = lru.NewLRU[string, Pod](rememberedPods, nil); err != nil {
		return nil, fmt.Errorf("remember pods: %w", err)
	}
	if d.owners, err = lru.NewLRU[string, Controller](rememberedPods, nil); err != nil {
		return nil, fmt.Errorf("remember the owners of pods: %w", err)
	}
	if d.volumes, err = lru.NewLRU[string, []VolumeMount](rememberedPods, nil); err != nil {
		return nil, fmt.Errorf("remember the volumes of pods: %w", err)
	}
	if d.labels, err = lru.NewLRU[string, Labels](rememberedPods, nil); err != nil {
		return nil, fmt.Errorf("remember the labels of pods: %w", err)
	}
	return d, nil
}

// AddContainer tells of a container. Its strings may be anything.
func (d *Directory) AddContainer(c Container) {
	if c.ID == "" {
		return
	}
	c.Name, c.Service = clean(c.Name), clean(c.Service)
	if c.Pod != nil {
		pod := cleanPod(*c.Pod)
		c.Pod = &pod
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.containers.Get(c.ID); ok && known.User == "" && c.User != "" {
		return // a user's runtime has no say in what is the system's
	}
	d.containers.Add(c.ID, c)
	d.found(func(w Want) bool { return w.ContainerID == c.ID && w.User == c.User })
	if c.Pod != nil {
		d.addPod(*c.Pod)
	}
}

// AddPod tells of a pod.
func (d *Directory) AddPod(p Pod) {
	if p.UID == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addPod(cleanPod(p))
}

func (d *Directory) addPod(p Pod) {
	d.pods.Add(p.UID, p)
	d.found(func(w Want) bool { return w.ContainerID == "" && w.PodUID == p.UID })
}

// AddOwner tells who made a pod, as the API server has it.
func (d *Directory) AddOwner(podUID string, c Controller) {
	c.Kind, c.Name = clean(c.Kind), clean(c.Name)
	if podUID == "" || c.Kind == "" || c.Name == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owners.Add(podUID, c)
	d.version++
}

// Follow says that an API server tells of this node's pods, and whether it does now: while it does, pods wait for what it
// says of them; while it does not, they go by their labels until it does.
func (d *Directory) Follow(now bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cluster && d.following == now {
		return
	}
	d.cluster, d.following = true, now
	d.version++
}

func (d *Directory) found(is func(Want) bool) {
	d.version++
	for w := range d.wanted {
		if is(w) {
			delete(d.wanted, w)
		}
	}
}

// Wanted returns what is looked for, and a channel that is closed when there is more.
func (d *Directory) Wanted() ([]Want, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Want, 0, len(d.wanted))
	for w := range d.wanted {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b Want) int {
		return strings.Compare(a.ContainerID+a.PodUID, b.ContainerID+b.PodUID)
	})
	return all, d.changed
}

// Container returns what was told of a container.
func (d *Directory) Container(id string) (Container, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.containers.Get(id)
}

// pod returns what was told of a pod.
func (d *Directory) pod(uid string) (Pod, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pods.Get(uid)
}

// controller returns who made the pod.
func (d *Directory) controller(p *Pod) (Controller, certainty) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if owner, ok := d.owners.Get(p.UID); ok {
		return owner, final
	}
	switch {
	case p.Static || !d.cluster:
		return p.Controller, final
	case d.following:
		return p.Controller, soon
	default:
		return p.Controller, later
	}
}

// Refresh forgets what may have changed of a container outside Kubernetes, so that it is asked for again. In Kubernetes each
// start is a new container.
func (d *Directory) Refresh(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.containers.Peek(id); ok && c.Pod == nil {
		d.containers.Remove(id)
	}
}

// drop forgets a container that is gone.
func (d *Directory) drop(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.containers.Remove(id)
}

// want makes the sources look for w.
func (d *Directory) want(w Want) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.wanted[w]; ok || len(d.wanted) >= maxWanted {
		return
	}
	d.wanted[w] = struct{}{}
	close(d.changed)
	d.changed = make(chan struct{})
}

// forget ends the search for w.
func (d *Directory) forget(w Want) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wanted, w)
}

// answers grows with everything that is told.
func (d *Directory) answers() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version
}

func cleanPod(p Pod) Pod {
	p.Namespace, p.Name = clean(p.Namespace), clean(p.Name)
	p.Controller.Kind, p.Controller.Name = clean(p.Controller.Kind), clean(p.Controller.Name)
	return p
}

// clean makes a name of whatever somebody else said: valid UTF-8 of bounded length.
func clean(name string) string {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}
