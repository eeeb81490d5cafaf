// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// run is a workload that makes one file and ends, and what must be told of it.
type run struct {
	what       string
	kind, name string
	// Of a container that is not called as its workload.
	container string
	namespace string
	pod, uid  string
	volume    string
	restarts  uint32
	// Those that it was given; not looked at where there are none.
	labels map[string]string
	// The folder below which it writes to tmp, by its own view.
	at    string
	class spoorv1.StorageClass
	// How many lives it has; one unless it says more.
	times int
}

// fact is an event with what it is about.
type fact struct {
	in      *spoorv1.Instance
	process *spoorv1.Process
	record  *spoorv1.Record
}

// runs compares what is told with what was done.
type runs struct {
	told
	facts []fact
	done  []run
}

func newRuns(t *testing.T) *runs { return &runs{told: told{T: t}} }

func (c *runs) add(batch *spoorv1.Batch) {
	c.each(batch, func(r *spoorv1.Record) {
		if r.GetProcess() == 0 {
			return
		}
		f := fact{process: batch.GetProcesses()[r.GetProcess()-1], record: r}
		if n := r.GetInstance(); n > 0 {
			f.in = batch.GetInstances()[n-1]
		}
		c.facts = append(c.facts, f)
	})
}

// run runs a command that ends with the shop's, as often as it has lives.
func (c *runs) run(r run, args ...string) {
	c.Helper()
	args = append(args, r.args(c.expect(r))...)
	for range max(r.times, 1) {
		command(c.T, args...)
	}
}

// args are those of the shop: n tells one run from others, and blink has no other use for it.
func (r run) args(n int) []string {
	args := []string{"blink", "-n", strconv.Itoa(n)}
	if r.at != "" {
		args = append(args, "-root", r.at)
	}
	if r.kind != "Unit" && r.kind != "Session" && r.class != layer {
		args = append(args, "-stay", "3s") // where it has what is mounted for it can be read only while it lives
	}
	return args
}

// expect returns the number that the shop gets as its mark.
func (c *runs) expect(r run) int {
	r.times = max(r.times, 1)
	c.done = append(c.done, r)
	return len(c.done) - 1
}

// again is one more life of what ran.
func (c *runs) again(name string, args ...string) {
	c.Helper()
	i := slices.IndexFunc(c.done, func(r run) bool { return r.name == name })
	c.done[i].times++
	command(c.T, args...)
}

// check looks at every event: at those of the runs what they say, at the others whether they say whose they are.
func (c *runs) check() {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong, others := 0, map[string]int{}
	bad := func(format string, args ...any) {
		if wrong++; wrong <= 20 {
			c.Errorf(format, args...)
		}
	}
	// What a container's runtime does in it before it becomes the shop has its name, too.
	names := map[string]string{}
	lives := make([]map[string]bool, len(c.done))
	seen := make([]map[string]int, len(c.done))
	for i := range c.done {
		lives[i], seen[i] = map[string]bool{}, map[string]int{}
	}
	for _, f := range c.facts {
		i := c.markOf(f.process)
		if i < 0 {
			continue
		}
		r, in := c.done[i], f.in
		if got, want := whose(in), r.whose(); got != want {
			bad("%s: %s is of %s in %s, want %s", r.what, kindOf(f.record), got, in.GetCgroupPath(), want)
		}
		if in.GetRestartCount() != r.restarts {
			bad("%s: it was restarted %d times, want %d", r.what, in.GetRestartCount(), r.restarts)
		}
		if r.labels != nil && (!in.GetLabelsKnown() || !maps.Equal(in.GetLabels(), r.labels)) {
			bad("%s: its labels are %v (known: %v), want %v", r.what, in.GetLabels(), in.GetLabelsKnown(), r.labels)
		}
		if id := in.GetContainerId(); id != "" {
			names[id] = r.whose()
		}
		lives[i][in.GetId()] = true
		seen[i][kindOf(f.record)]++
		if file := fileOf(f.record); file != nil {
			want := filepath.Join("/", r.at, "tmp/blink")
			if kindOf(f.record) == "change" && file.GetPath() != want && file.GetStorageClass() != spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
				continue // an overlay copies folders; and what was made just before the program began is told of that, in the base tier
			}
			if file.GetPath() != want || file.GetStorageClass() != r.class || file.GetVolume().GetName() != r.volume {
				bad("%s: it wrote %v, want %s on %v", r.what, file, want, r.class)
			}
			seen[i]["file"]++
		}
	}
	for i, r := range c.done {
		for _, kind := range []string{"start", "exit", "file"} {
			if seen[i][kind] < r.times {
				bad("%s: %d of %d lives have a %s: %v", r.what, seen[i][kind], r.times, kind, seen[i])
			}
		}
		if len(lives[i]) != r.times {
			bad("%s: it had %d instances, want %d", r.what, len(lives[i]), r.times)
		}
	}
	for _, f := range c.facts {
		if c.markOf(f.process) >= 0 {
			continue
		}
		got := whose(f.in)
		// Who is in no cgroup but the root is the host's: what the kernel starts by itself, to load modules and to tell systemd of cgroups.
		host := f.in.GetCgroupPath() == "/" && slices.Contains([]string{"kmod", "systemd-cgroups-agent"}, filepath.Base(f.process.GetExe()))
		if f.in.GetWorkload().GetName() == "" || f.in.GetWorkload().GetKind() == "Host" && !host {
			bad("%s of %s in %q is of %s", kindOf(f.record), f.process.GetExe()+f.process.GetComm(), f.in.GetCgroupPath(), got)
		}
		if want, known := names[f.in.GetContainerId()]; known && got != want {
			bad("%s of %s is of %s, want %s", kindOf(f.record), f.process.GetExe(), got, want)
		}
		if file := fileOf(f.record); file != nil && file.GetStorageClass() == spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
			bad("%s of %s wrote %v: where?", f.process.GetExe(), got, file)
		}
		others[got]++
	}
	c.Logf("%d events, %d wrong", len(c.facts), wrong)
	for i, r := range c.done {
		c.Logf("%-40s %s: %v", r.what, r.whose(), seen[i])
	}
	for _, other := range slices.Sorted(maps.Keys(others)) {
		c.Logf("%6d of %s", others[other], other)
	}
}

// markOf returns which run a process is of; -1 when it is of none.
func (c *runs) markOf(p *spoorv1.Process) int {
	args := p.GetArgs()
	if filepath.Base(p.GetExe()) != "shop" || len(args) < 4 || args[1] != "blink" {
		return -1
	}
	n, err := strconv.Atoi(args[3])
	if err != nil || n >= len(c.done) {
		return -1
	}
	return n
}

func (r run) whose() string {
	container := r.container
	if r.kind == "Container" {
		container = cmp.Or(container, r.name)
	}
	return fmt.Sprintf("%s/%s/%s, container %q, pod %q %s", cmp.Or(r.namespace, "vm"), r.kind, r.name, container, r.pod, r.uid)
}

func whose(in *spoorv1.Instance) string {
	w := in.GetWorkload()
	return fmt.Sprintf("%s/%s/%s, container %q, pod %q %s", w.GetNamespace(), w.GetKind(), w.GetName(), in.GetContainerName(), in.GetPodName(), in.GetPodUid())
}

func kindOf(r *spoorv1.Record) string {
	switch {
	case r.GetProcessStart() != nil:
		return "start"
	case r.GetProcessExit() != nil:
		return "exit"
	case r.GetFileWrite() != nil:
		return "write"
	case r.GetFileChange() != nil:
		return "change"
	default:
		return fmt.Sprintf("%T", r.GetFact())
	}
}

// fileOf returns what was written. In memory, a file that is written at once after it was made shows as made.
func fileOf(r *spoorv1.Record) *spoorv1.File {
	if f := r.GetFileWrite().GetFile(); f != nil {
		return f
	}
	return r.GetFileChange().GetFile()
}
