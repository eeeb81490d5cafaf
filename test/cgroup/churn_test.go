// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/loopback"
)

const (
	// Where the pods are, in every hierarchy.
	branch = "/spoor-churn"
	// How many there are a second, and at a time.
	rate, together = 20, 60
	// What deploy/kubernetes gives the agent's runtime, in KiB. 26 MiB are the rings that it shares with the kernel, and 21 its program.
	maxResident = 160 << 10
	// An agent knows all files and processes of its machine: what it keeps of pods shows when there is not much else.
	maxLoad = 4
	// How long an agent remembers what is gone, at most, and how long its runtime takes to give memory back.
	retention = 3 * time.Minute
	// What it may have more than just after its start when that has passed: names of files that may be there still, which are bounded, and what its
	// runtime keeps of the most that it had.
	maxKept = 24 << 10
	// Kubelet notices that containers ended once a second (pkg/kubelet, plegRelistPeriod), and has them removed after that.
	notices = time.Second
	// The names that their controller has.
	podNamespace, podOwner = "shop", "churn"
)

// Pods that come and go at 20 a second: none has an event without its name, or with another's; and the agent's memory stays within its bound, does
// not grow any more after what it remembers has its age, and is back some minutes after. SPOOR_CHURN says for how long.
func TestChurn(t *testing.T) {
	lasts := 10 * time.Second
	if given := os.Getenv("SPOOR_CHURN"); given != "" {
		var err error
		if lasts, err = time.ParseDuration(given); err != nil {
			t.Fatal(err)
		}
	}
	dir := scratch(t)
	image, err := filepath.Abs("../../build/cgroup/root")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "cri.sock")
	runtime := serve(t, socket)
	told := newTally(t)
	metrics := loopback.Free(t)
	a := startAgent(t, told.add, "--node", "churned", "--cgroup", branch, "--cri-socket", socket, "--metrics", metrics)
	told.untilCovered()

	trees := cgroupTrees(t)
	t.Cleanup(func() { removeBelow(t, branch) })
	slots := make(chan struct{}, together)
	var running sync.WaitGroup
	n := 0
	// churn makes pods so long, one each so often.
	churn := func(lasts, each time.Duration) samples {
		memory := watchMemory(t, a.cmd.Process.Pid, metrics)
		begun := time.Now()
		for next := begun; time.Since(begun) < lasts; n++ {
			slots <- struct{}{}
			b := newBlink(dir, branch, n)
			told.expect(b)
			running.Go(func() {
				defer func() { <-slots }()
				runtime.add(b.sandbox, b.container)
				if err := b.run(image); err != nil {
					t.Error(err)
				}
				time.Sleep(notices)
				runtime.remove(b.sandbox, b.container)
				if err := b.remove(trees); err != nil {
					t.Error(err)
				}
			})
			next = next.Add(each)
			time.Sleep(time.Until(next))
		}
		running.Wait()
		return memory()
	}
	calm := churn(sampleEvery, time.Second)
	begun := time.Now()
	meanwhile := churn(lasts, time.Second/rate)
	took := time.Since(begun)
	churned := n
	var after samples
	if lasts >= time.Minute { // less than that is remembered anyhow
		after = churn(retention, sampleEvery)
	}
	a.stop()
	told.check()
	t.Logf("%d pods in %.0f s, %.1f a second; %d events of theirs; the runtime was asked %d times", churned, took.Seconds(), float64(churned)/took.Seconds(), told.events, runtime.asked)
	for what, of := range map[string]func(sample) int{
		"resident memory of the agent": sample.ofResident, "what its runtime has in use": sample.ofInUse, "objects there": sample.ofObjects,
	} {
		t.Logf("%s in KiB, every %v: before %v, meanwhile %v, after %v", what, sampleEvery, calm.all(of), meanwhile.all(of), after.all(of))
	}
	for _, s := range []samples{calm, meanwhile, after} {
		if len(s) > 0 {
			t.Logf("it remembered in the end: %v", s[len(s)-1].remembered)
		}
	}
	resident := meanwhile.all(sample.ofResident)
	if most := slices.Max(resident); most > maxResident {
		t.Errorf("it had %d KiB of memory", most)
	}
	if load := loadAverage(t); load > maxLoad {
		t.Logf("others are at work here (load average %.0f): whether memory is back is not judged", load)
		return
	}
	if third := len(resident) / 3; lasts >= retention && slices.Max(resident[2*third:]) > slices.Max(resident[third:2*third])+maxKept/3 {
		t.Error("its memory goes on growing")
	}
	if before := slices.Max(calm.all(sample.ofResident)); len(after) > 0 && after[len(after)-1].resident > before+maxKept {
		t.Errorf("it had %d KiB before, and has %d after", before, after[len(after)-1].resident)
	}
}

// tally compares what is told with what was done.
type tally struct {
	told
	events int
	pods   map[string]*blink         // by uid
	seen   map[string]map[string]int // kinds of events by uid
	wrong  int
}

func newTally(t *testing.T) *tally {
	return &tally{told: told{T: t}, pods: map[string]*blink{}, seen: map[string]map[string]int{}}
}

func (c *tally) expect(b *blink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[b.uid], c.seen[b.uid] = b, map[string]int{}
}

func (c *tally) add(batch *spoorv1.Batch) {
	c.each(batch, func(r *spoorv1.Record) {
		if r.GetInstance() > 0 {
			c.event(batch.GetInstances()[r.GetInstance()-1], r)
		}
	})
}

// event looks at one: all that is below the branch is of a pod.
func (c *tally) event(in *spoorv1.Instance, r *spoorv1.Record) {
	if !strings.HasPrefix(in.GetCgroupPath(), branch+"/kubepods/") {
		return
	}
	c.events++
	_, uid, _ := strings.Cut(in.GetCgroupPath(), "/pod")
	uid, _, _ = strings.Cut(uid, "/")
	b := c.pods[uid]
	if b == nil {
		c.bad("there is no pod in cgroup %s", in.GetCgroupPath())
		return
	}
	w := in.GetWorkload()
	got := fmt.Sprint(in.GetPodUid(), in.GetPodName(), in.GetContainerId(), in.GetContainerName(), w.GetNamespace(), w.GetKind(), w.GetName())
	if want := fmt.Sprint(uid, b.name, b.container.GetId(), "blink", podNamespace, "Deployment", podOwner); got != want {
		c.bad("an event of pod %s has\n\t%s, want\n\t%s", b.name, got, want)
	}
	f := r.GetFileWrite().GetFile()
	if f == nil { // in memory, a file that is written at once after it was made shows as made
		f = r.GetFileChange().GetFile()
	}
	switch {
	case r.GetProcessStart() != nil:
		c.seen[uid]["start"]++
	case r.GetProcessExit() != nil:
		c.seen[uid]["exit"]++
	case f.GetPath() == "/tmp/blink":
		if f.GetStorageClass() != spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER {
			c.bad("the file of pod %s is on %v", b.name, f.GetStorageClass())
		}
		c.seen[uid]["file"]++
	}
}

func (c *tally) bad(format string, args ...any) {
	if c.wrong++; c.wrong <= 5 {
		c.Errorf(format, args...)
	}
}

func (c *tally) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := map[string]int{}
	for uid := range c.pods {
		for _, kind := range []string{"start", "exit", "file"} {
			if c.seen[uid][kind] == 0 {
				missing[kind]++
			}
		}
	}
	if c.wrong > 0 || len(missing) > 0 {
		c.Errorf("%d of %d events are wrong; pods without: %v", c.wrong, c.events, missing)
	}
}

// scratch is a folder in memory: what is measured is not the disk.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "spoor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	mountTmpfs(t, dir)
	return dir
}

// mountTmpfs mounts memory at a folder, which it makes, until the test ends.
func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// mounts returns what is mounted: device, place, type and more of each (proc_mounts(5)).
func mounts(t *testing.T) (all [][]string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		all = append(all, strings.Fields(line))
	}
	return all
}

// cgroupTrees returns where the hierarchies are mounted.
func cgroupTrees(t *testing.T) []string {
	t.Helper()
	var trees []string
	for _, m := range mounts(t) {
		if m[2] == "cgroup" || m[2] == "cgroup2" {
			trees = append(trees, m[1])
		}
	}
	return trees
}
