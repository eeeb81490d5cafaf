// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/workload"
	"github.com/spoor/spoor/agent/workload/cri"
	"github.com/spoor/spoor/agent/workload/disk"
	"github.com/spoor/spoor/agent/workload/kube"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How long a stop waits for the names of what began just before.
const lastNames = time.Second

// hostProc is the process that shows the host's own files: init; the kernel's kthreadd, where init has more capabilities
// than the agent; or, in a pid namespace of its own, the agent.
func hostProc() string {
	for _, proc := range []string{"/proc/1", "/proc/2"} {
		if _, err := os.Stat(proc + "/root/proc"); err == nil {
			return proc
		}
	}
	return "/proc/self"
}

// openNames prepares what says who a process belongs to. The sources begin with Run.
func (a *Agent) openNames(bootID string) error {
	proc := hostProc()
	controller, err := kernel.CgroupV1()
	if err != nil {
		return err
	}
	unified, v1, err := workload.Hierarchies(proc, controller)
	if err != nil {
		return err
	}
	directory, err := workload.NewDirectory()
	if err != nil {
		return err
	}
	root := proc + "/root"
	state := ""
	if a.o.CRISocket != "" { // containerd has its socket there
		state = filepath.Dir(strings.TrimPrefix(a.o.CRISocket, "unix://"))
	}
	for _, socket := range cri.Sockets(root, a.o.CRISocket) {
		a.sources = append(a.sources, cri.New(cri.Options{Socket: socket, Expected: a.o.CRISocket != "", Node: a.o.Node, Logger: a.o.Logger}))
	}
	if err := a.openCluster(directory); err != nil {
		return err
	}
	containers := disk.New(disk.Options{Root: root, State: state, Logger: a.o.Logger})
	a.sources = append(a.sources, containers)
	a.directory = directory
	a.held = newHold(maxHeld)
	a.workloads, err = workload.New(workload.Options{
		Cluster: a.o.Cluster, Node: a.o.Node, BootID: bootID, Unified: unified, V1: v1, Below: a.o.Cgroup, Directory: directory,
		Tasks: containers.Tasks(), Time: a.clock.Time,
	})
	return err
}

// openCluster adds the API server of the cluster that the agent runs in, or that it was told of. Outside a cluster there is
// nothing to ask, and nothing missing.
func (a *Agent) openCluster(d *workload.Directory) error {
	source, err := kube.New(kube.Options{Kubeconfig: a.o.Kubeconfig, Node: a.o.Node, Version: a.o.Version, Logger: a.o.Logger})
	if errors.Is(err, kube.ErrNotInCluster) {
		return nil
	}
	if err != nil {
		if a.o.Kubeconfig == "" { // a pod without the service account's token
			a.o.Logger.Info("the API server is not asked for the owners of pods; they are told from labels", "reason", err)
			return nil
		}
		return err
	}
	d.Follow(true)
	a.sources = append(a.sources, source)
	return nil
}

// runNames runs the sources of names until ctx ends.
func (a *Agent) runNames(ctx context.Context) error {
	var g errgroup.Group
	for _, s := range a.sources {
		g.Go(func() error { return s.Run(ctx, a.directory) })
	}
	return g.Wait()
}

// settle names what can be named, and sends what waited for it. It returns how many instances wait still.
func (a *Agent) settle(now time.Time) int {
	pending := a.workloads.Settle(now)
	a.held.release(a.send)
	return pending
}

// settleAll gives the last names a moment to come; then everything goes.
func (a *Agent) settleAll() {
	deadline := time.Now().Add(lastNames)
	for a.settle(time.Now()) > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	for len(a.held.order) > 0 {
		a.workloads.GiveUp(a.held.order[0])
		a.held.release(a.send)
	}
}

// send queues one record. A full queue counts what it drops; reportLosses tells.
func (a *Agent) send(in *workload.Instance, p *spoorv1.Process, r *spoorv1.Record) {
	a.nameVolume(in, r)
	a.queue.Add(r, p, in.Proto())
}
