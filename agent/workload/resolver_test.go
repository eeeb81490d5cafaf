// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	podA = "6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	podB = "7d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e"
)

func id(n int) string { return fmt.Sprintf("%064x", n) }

type world struct {
	*Resolver
	d   *Directory
	now time.Time
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	d, err := NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Cluster: "c", Node: "n", BootID: "b", Directory: d, V1: &Hierarchy{ID: 8, Controller: "pids"}}
	for _, c := range change {
		c(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &world{r, d, time.Unix(1_000_000, 0)}
}

// of says who a cgroup belongs to, as somebody would write it, with a question mark while that is not settled.
func (w *world) of(key uint64) string {
	in := w.Of(key, 0, false)
	p := in.Proto()
	s := p.GetWorkload().GetNamespace() + "/" + p.GetWorkload().GetKind() + "/" + p.GetWorkload().GetName()
	if p.GetContainerName() != "" {
		s += " " + p.GetContainerName()
	}
	if in.Pending() {
		s += "?"
	}
	return s
}

func (w *world) settle(after time.Duration) {
	w.now = w.now.Add(after)
	w.Settle(w.now)
}

func (w *world) want(t *testing.T, key uint64, want string) {
	t.Helper()
	if got := w.of(key); got != want {
		t.Errorf("cgroup %d belongs to %s, want %s", key, got, want)
	}
}

func deployment(n int, pod string) Container {
	return Container{ID: id(n), Name: "app", Restarts: 2, Created: time.Unix(5, 0), Pod: &Pod{
		UID: pod, Namespace: "shop", Name: "checkout-1", Controller: Controller{"Deployment", "checkout"},
	}}
}

func TestAContainerIsNamedWhenItsNameComes(t *testing.T) {
	w := newWorld(t)
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1), time.Unix(7, 0))
	w.want(t, 10, "n/Container/000000000000?")
	if wanted, _ := w.d.Wanted(); len(wanted) != 1 || wanted[0].ContainerID != id(1) || wanted[0].PodUID != podA {
		t.Fatalf("wanted: %v", wanted)
	}
	before := w.Of(10, 0, false).Proto()
	w.d.AddContainer(deployment(1, podA))
	w.settle(0)
	w.want(t, 10, "shop/Deployment/checkout app")
	p := w.Of(10, 0, false).Proto()
	if p.GetRestartCount() != 2 || p.GetPodName() != "checkout-1" || p.GetStartTime().AsTime() != time.Unix(7, 0).UTC() || p.GetId() != before.GetId() {
		t.Errorf("the instance is %v", p)
	}
	if before.GetPodName() != "" {
		t.Error("what may have been sent was changed")
	}
	if wanted, _ := w.d.Wanted(); len(wanted) != 0 {
		t.Errorf("still wanted: %v", wanted)
	}
	w.d.AddContainer(deployment(2, podA))
	w.Learn(11, "/kubepods/pod"+podA+"/"+id(2), time.Time{})
	w.want(t, 11, "shop/Deployment/checkout app") // known before it began
	if got := w.Of(11, 0, false).Proto().GetStartTime().AsTime(); got != time.Unix(5, 0).UTC() {
		t.Errorf("it started at %s, want what the runtime says", got)
	}
}

func TestANameThatIsLateIsTakenAllTheSame(t *testing.T) {
	w := newWorld(t)
	w.Learn(10, "/docker/"+id(1), time.Time{})
	w.of(10)
	w.settle(time.Hour) // time before the first look does not count
	w.want(t, 10, "n/Container/000000000000?")
	w.settle(patience - 1)
	w.want(t, 10, "n/Container/000000000000?")
	w.settle(1)
	w.want(t, 10, "n/Container/000000000000")
	if w.Unnamed() != 1 {
		t.Errorf("%d containers count as unnamed", w.Unnamed())
	}
	if wanted, _ := w.d.Wanted(); len(wanted) != 0 {
		t.Errorf("still wanted: %v", wanted)
	}
	w.d.AddContainer(Container{ID: id(1), Name: "web"})
	w.settle(time.Minute)
	w.want(t, 10, "n/Container/web web")
}

func TestTheAPIServersWordIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.d.Follow(true)
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1), time.Time{})
	w.d.AddContainer(deployment(1, podA))
	w.settle(0)
	w.want(t, 10, "shop/Deployment/checkout app?")
	w.d.AddOwner(podA, Controller{"CloneSet", "checkout"})
	w.settle(0)
	w.want(t, 10, "shop/CloneSet/checkout app")

	static := deployment(2, "static")
	static.Pod.Static = true
	w.Learn(11, "/kubepods/podx/"+id(2), time.Time{})
	w.d.AddContainer(static)
	w.settle(0)
	w.want(t, 11, "shop/Deployment/checkout app")

	w.Learn(12, "/kubepods/pod"+podB+"/"+id(3), time.Time{})
	w.d.AddContainer(deployment(3, podB))
	w.of(12)
	w.settle(0)
	w.settle(patience) // it says nothing: what the labels say has to do, and does not count as unnamed
	w.want(t, 12, "shop/Deployment/checkout app")
	if w.Unnamed() != 0 {
		t.Errorf("%d containers count as unnamed", w.Unnamed())
	}
	w.d.Follow(false)
	w.Learn(13, "/kubepods/pod"+podB+"/"+id(4), time.Time{})
	w.d.AddContainer(deployment(4, podB))
	w.settle(0)
	w.want(t, 13, "shop/Deployment/checkout app")
	w.d.AddOwner(podB, Controller{"CloneSet", "other"}) // it is back
	w.settle(0)
	w.want(t, 12, "shop/CloneSet/other app")
	w.want(t, 13, "shop/CloneSet/other app")
}

func TestNobodyTakesTheNameOfAnother(t *testing.T) {
	const user = "/user.slice/user-7.slice/user@7.service/"
	w := newWorld(t)
	w.d.AddContainer(deployment(1, podA))
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1), time.Time{})
	w.d.AddContainer(Container{ID: id(2), Name: "web"})
	w.Learn(11, "/docker/"+id(2), time.Time{})
	w.want(t, 10, "shop/Deployment/checkout app")
	w.want(t, 11, "n/Container/web web")
	for key, path := range map[uint64]string{
		20: user + id(1),                               // a user makes a cgroup with the id of a pod's container
		21: user + "kubepods/pod" + podA + "/" + id(1), // and with its pod
		22: "/docker/" + id(2) + "/" + id(1),           // a container with cgroups of its own does
		23: "/kubepods/pod7d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e/" + id(1),
	} {
		w.Learn(key, path, time.Time{})
		w.of(key)
	}
	w.settle(0)
	w.settle(patience)
	w.want(t, 20, "n/Container/uid-7:000000000000")
	w.want(t, 21, "n/Container/uid-7:000000000000")
	w.want(t, 22, "n/Container/web web")
	w.want(t, 23, "n/Container/000000000000")

	w.d.AddContainer(Container{ID: id(3), Name: "web", User: "7"})
	w.Learn(30, user+"docker-"+id(3)+".scope", time.Time{})
	w.want(t, 30, "n/Container/uid-7:web web")
	w.d.AddContainer(Container{ID: id(2), Name: "taken", User: "7"})
	if c, _ := w.d.Container(id(2)); c.Name != "web" {
		t.Errorf("a user's runtime named the system's container %s", c.Name)
	}
	// At start the order is that of the file system: who is in no other container comes first.
	w.Learn(40, "/a/"+id(8)+"/"+id(9), time.Time{})
	w.Learn(41, "/b/"+id(9), time.Time{})
	w.of(40)
	w.of(41)
	w.d.AddContainer(Container{ID: id(9), Name: "db"})
	w.settle(0)
	w.want(t, 41, "n/Container/db db")
	w.want(t, 40, "n/Container/000000000000?")
}

func TestANestedContainerBelongsToTheOneThatSomebodyManages(t *testing.T) {
	w := newWorld(t)
	w.d.AddContainer(deployment(1, podA))
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1)+"/docker/"+id(2), time.Time{})
	w.want(t, 10, "n/Container/000000000000?")
	w.settle(0)
	w.settle(patience)
	w.want(t, 10, "shop/Deployment/checkout app")
	if w.Unnamed() != 0 {
		t.Errorf("%d containers count as unnamed", w.Unnamed())
	}
	// A cluster in a container, whose runtime does tell.
	w.d.AddContainer(deployment(3, podA))
	w.Learn(11, "/docker/"+id(4)+"/kubelet/pod"+podA+"/"+id(3), time.Time{})
	w.want(t, 11, "shop/Deployment/checkout app")
}

func TestAContainerThatNobodyTellsOfBelongsToItsPod(t *testing.T) {
	w := newWorld(t)
	w.d.AddContainer(deployment(1, podA))
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1), time.Time{})
	w.want(t, 10, "shop/Deployment/checkout app")
	w.Learn(11, "/kubepods/pod"+podA+"/"+id(2), time.Time{}) // its runtime had forgotten it when it was asked
	w.want(t, 11, "n/Container/000000000000?")
	w.settle(0)
	w.settle(patience)
	w.want(t, 11, "shop/Deployment/checkout")
	if p := w.Of(11, 0, false).Proto(); p.GetPodName() == "" || p.GetContainerId() != id(2) {
		t.Errorf("it is told as %v", p)
	}
	if w.Unnamed() != 0 {
		t.Errorf("%d containers count as unnamed", w.Unnamed())
	}
	again := deployment(2, podA)
	again.Restarts = 1
	w.d.AddContainer(again) // later all the same
	w.settle(patience)
	w.want(t, 11, "shop/Deployment/checkout app")
}

func TestCgroupsBelowAnOwnerAreOneInstance(t *testing.T) {
	w := newWorld(t)
	w.Learn(10, "/system.slice/web.service", time.Unix(1, 0))
	w.Learn(11, "/system.slice/web.service/workers", time.Unix(2, 0))
	if w.Of(10, 0, false) != w.Of(11, 0, false) {
		t.Error("a cgroup below a unit's is another instance")
	}
	w.Learn(12, "/system.slice/web.service", time.Unix(3, 0)) // after a stop
	w.Learn(13, "/system.slice/web.service/workers", time.Unix(4, 0))
	if w.Of(12, 0, false) == w.Of(10, 0, false) {
		t.Error("two activations of a unit are one instance")
	}
	if w.Of(13, 0, false) != w.Of(12, 0, false) {
		t.Error("a cgroup below a unit's belongs to an earlier activation")
	}
}

func TestOnlyABranchIsLookedAt(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Below = "/node1" })
	for key, c := range map[uint64]struct {
		path      string
		elsewhere bool
	}{
		10: {"/node1/system.slice/kubelet.service", false},
		11: {"/node1", false},
		12: {"/node10/system.slice/kubelet.service", true},
		13: {"/system.slice/kubelet.service", true},
		14: {"/", true},
	} {
		w.Learn(key, c.path, time.Time{})
		if got := w.Of(key, 0, false).Elsewhere(); got != c.elsewhere {
			t.Errorf("that %s is elsewhere: %t, want %t", c.path, got, c.elsewhere)
		}
	}
	if !w.Of(10, 0, true).Elsewhere() {
		t.Error("kernel threads are in a branch")
	}
	if !w.Of(99, 0, false).Elsewhere() {
		t.Error("a cgroup that nobody knows is in a branch")
	}
	if w.Host().Elsewhere() {
		t.Error("what the agent says of itself is elsewhere")
	}
}

func TestAContainerThatStartsAgainIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	w.d.AddContainer(Container{ID: id(1), Name: "web", Restarts: 0})
	w.Learn(10, "/docker/"+id(1), time.Time{})
	w.Learn(11, "/docker/"+id(1), time.Time{})
	w.want(t, 10, "n/Container/web web")
	w.want(t, 11, "n/Container/000000000000?")
	w.d.AddContainer(Container{ID: id(1), Name: "web", Restarts: 1})
	w.settle(0)
	if got := w.Of(11, 0, false).Proto().GetRestartCount(); got != 1 {
		t.Errorf("it was started %d times before, want 1", got)
	}
	if w.Of(10, 0, false).Proto().GetRestartCount() != 0 {
		t.Error("the earlier life counts starts after its end")
	}
}

func TestHierarchiesDoNotMix(t *testing.T) {
	w := newWorld(t)
	w.Learn(Key(0, 10), "/system.slice/new.service", time.Time{})
	w.Learn(Key(8, 10), "/system.slice/old.service", time.Time{})
	w.Learn(Key(1, 10), "/system.slice/other.service", time.Time{}) // a controller that nobody looks at
	w.want(t, Key(0, 10), "n/Unit/new.service")
	w.want(t, Key(8, 10), "n/Unit/old.service")
	if w.Len() != 2 {
		t.Errorf("%d cgroups are remembered, want 2", w.Len())
	}
}

func TestAPodsOwnCgroupIsNamedWhenSomebodyIsInIt(t *testing.T) {
	w := newWorld(t)
	w.Learn(10, "/kubepods/pod"+podA, time.Time{})
	if wanted, _ := w.d.Wanted(); len(wanted) != 0 {
		t.Fatalf("wanted before anybody was in it: %v", wanted)
	}
	w.want(t, 10, "n/Pod/"+podA+"?")
	if wanted, _ := w.d.Wanted(); len(wanted) != 1 || wanted[0].PodUID != podA {
		t.Fatalf("wanted: %v", wanted)
	}
	w.d.AddPod(*deployment(1, podA).Pod)
	w.settle(0)
	w.want(t, 10, "shop/Deployment/checkout")
}

func TestTasksOfContainerd(t *testing.T) {
	tasks := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tasks, "default", "c1"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Tasks = []string{tasks} })
	w.Learn(10, "/default/c1", time.Time{})
	w.Learn(11, "/default/c2", time.Time{})
	w.Learn(12, "/default", time.Time{})
	w.want(t, 10, "n/Container/c1 c1")
	w.want(t, 11, "n/Host/n")
	w.want(t, 12, "n/Host/n")
}

func TestForgettingIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range remembered + 10 {
		w.Learn(uint64(100+i), "/docker/"+id(i), time.Time{})
	}
	if w.Len() != remembered || w.Evicted() != 10 || len(w.waiting) != remembered {
		t.Errorf("%d cgroups are remembered, %d forgotten, %d wait", w.Len(), w.Evicted(), len(w.waiting))
	}
	if wanted, _ := w.d.Wanted(); len(wanted) > maxWanted {
		t.Errorf("%d are looked for", len(wanted))
	}
}

func TestDirectoryTrustsNoName(t *testing.T) {
	w := newWorld(t)
	w.d.AddContainer(Container{ID: id(1), Name: "a\xff" + strings.Repeat("x", 1000)})
	c, _ := w.d.Container(id(1))
	if !strings.HasPrefix(c.Name, "a\uFFFDx") || len(c.Name) > maxName+2 {
		t.Errorf("the name is %q", c.Name)
	}
	w.d.AddContainer(Container{ID: "", Name: "x"})
	w.d.AddPod(Pod{Name: "x"})
	w.d.AddOwner(podA, Controller{})
	if w.d.containers.Len() != 1 || w.d.pods.Len() != 0 || w.d.owners.Len() != 0 {
		t.Error("something without an id was kept")
	}
}
