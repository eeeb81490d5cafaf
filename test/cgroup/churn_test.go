// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// Where the pods are, in every hierarchy.
	branch = "/spoor-churn"
	// How many there are a second, and at a time.
	rate, together = 20, 60
	// What deploy/kubernetes gives the agent's runtime, in KiB.
	maxResident = 160 << 10
	// Kubelet notices that containers ended once a second (pkg/kubelet, plegRelistPeriod), and has them removed after that.
	notices = time.Second
	// The names that their controller has.
	podNamespace, podOwner = "shop", "churn"
)

// Pods that come and go at 20 a second: none has an event without its name, or with another's; and the agent's memory stays within its bound. SPOOR_CHURN says for how long.
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
	a := startAgent(t, told.add, "--node", "churned", "--cgroup", branch, "--cri-socket", socket)
	told.until("the agent", func() bool { return told.coverage > 0 })

	trees := cgroupTrees(t)
	t.Cleanup(func() { removeBranch(t, trees) })
	memory := watchMemory(t, a.cmd.Process.Pid)
	begun := time.Now()
	slots := make(chan struct{}, together)
	var running sync.WaitGroup
	n := 0
	for ; time.Since(begun) < lasts && !t.Failed(); n++ {
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
		time.Sleep(time.Until(begun.Add(time.Duration(n+1) * time.Second / rate)))
	}
	running.Wait()
	took := time.Since(begun)
	samples := memory()
	a.stop()
	told.check()
	t.Logf("%d pods in %.0f s, %.1f a second; %d events of theirs; the runtime was asked %d times", n, took.Seconds(), float64(n)/took.Seconds(), told.events, runtime.asked)
	t.Logf("resident memory of the agent in KiB, every %v: %v", sampleEvery, samples)
	if most := slices.Max(samples); most > maxResident {
		t.Errorf("it had %d KiB of memory", most)
	}
}

// tally compares what is told with what was done.
type tally struct {
	*testing.T
	mu       sync.Mutex
	coverage int
	events   int
	pods     map[string]*blink         // by uid
	seen     map[string]map[string]int // kinds of events by uid
	wrong    int
}

func newTally(t *testing.T) *tally {
	return &tally{T: t, pods: map[string]*blink{}, seen: map[string]map[string]int{}}
}

func (c *tally) expect(b *blink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[b.uid], c.seen[b.uid] = b, map[string]int{}
}

func (c *tally) until(what string, ok func() bool) {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		done := ok()
		c.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("never came: %s", what)
		}
	}
}

func (c *tally) add(batch *spoorv1.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range batch.GetRecords() {
		switch {
		case r.GetCoverage() != nil:
			c.coverage++
		case r.GetLoss() != nil:
			c.Logf("lost: %d of %s, %s", r.GetLoss().GetCount(), r.GetLoss().GetSource(), r.GetLoss().GetReason())
		case r.GetInstance() > 0:
			c.event(batch.GetInstances()[r.GetInstance()-1], r)
		}
	}
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

const sampleEvery = 10 * time.Second

// watchMemory notes a process's resident memory until it is called off.
func watchMemory(t *testing.T, pid int) (stop func() []int) {
	t.Helper()
	done, result := make(chan struct{}), make(chan []int, 1)
	go func() {
		all := []int{resident(t, pid)}
		for {
			select {
			case <-time.After(sampleEvery):
				all = append(all, resident(t, pid))
			case <-done:
				result <- append(all, resident(t, pid))
				return
			}
		}
	}()
	return func() []int { close(done); return <-result }
}

// resident returns how much memory a process has, in KiB (proc_pid_status(5)).
func resident(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Error(err)
			}
			return n
		}
	}
	return 0
}

// scratch is a folder in memory: what is measured is not the disk.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "spoor")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// cgroupTrees returns where the hierarchies are mounted.
func cgroupTrees(t *testing.T) []string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var trees []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			trees = append(trees, f[1])
		}
	}
	return trees
}

func removeBranch(t *testing.T, trees []string) {
	for _, tree := range trees {
		for _, below := range []string{"/kubepods/besteffort", "/kubepods", ""} {
			if err := os.Remove(tree + branch + below); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	}
}
