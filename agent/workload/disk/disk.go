// SPDX-License-Identifier: Apache-2.0

// Package disk tells a workload.Directory of containers that no Kubernetes runs: from the state that docker, podman and
// containerd keep on disk, the system's and that of users without privileges.
//
// It reads when somebody asks for a container, and trusts nothing that it reads: what lies in a user's home was written by
// that user.
package disk

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spoor/spoor/agent/hostfs"
	"github.com/spoor/spoor/agent/workload"
)

const (
	// The pauses between two looks for the same container.
	minAgain = 10 * time.Millisecond
	maxAgain = time.Second
	// Bytes of a file that are read: podman's list has about 1 kB a container.
	maxFile = 16 << 20
)

// Options of a Source.
type Options struct {
	// The host's root directory, as the agent can reach it.
	Root string
	// Where containerd keeps the state of what runs, when that is not the usual place; "" otherwise.
	State  string
	Logger *slog.Logger
}

// Source looks for containers on disk.
type Source struct {
	o      Options
	podman map[string]podmanList // by path
}

// New returns a Source that does nothing before Run.
func New(o Options) *Source { return &Source{o: o, podman: map[string]podmanList{}} }

// Tasks returns the folders in which containerd (and that of K3s) keeps its tasks, one folder for each as NAMESPACE/ID.
func (s *Source) Tasks() []string {
	const tasks = "io.containerd.runtime.v2.task"
	all := []string{
		filepath.Join(s.o.Root, "run/containerd", tasks),
		filepath.Join(s.o.Root, "run/k3s/containerd", tasks),
	}
	if s.o.State != "" {
		all = append(all, filepath.Join(s.o.State, tasks))
	}
	return all
}

// Run implements workload.Source.
func (s *Source) Run(ctx context.Context, d *workload.Directory) error {
	again := minAgain
	for {
		wanted, more := d.Wanted()
		var timer <-chan time.Time
		if len(wanted) > 0 {
			timer = time.After(again)
		}
		for _, w := range wanted {
			if c, ok := s.find(w); ok {
				d.AddContainer(c)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
			again = minAgain
		case <-timer:
			again = min(2*again, maxAgain)
		}
	}
}

// find looks for one container in all places where it may be.
func (s *Source) find(w workload.Want) (workload.Container, bool) {
	if !isID(w.ContainerID) { // it becomes a part of paths
		return workload.Container{}, false
	}
	var c workload.Container
	var ok bool
	if w.User != "" {
		c, ok = s.findOfUser(w)
	} else {
		c, ok = s.findOfSystem(w)
	}
	c.ID, c.User = w.ContainerID, w.User
	return c, ok
}

func (s *Source) findOfSystem(w workload.Want) (workload.Container, bool) {
	host := hostfs.Dir{Path: s.o.Root}
	for _, data := range s.dockerData() {
		if c, ok := docker(host, data, w.ContainerID); ok {
			return c, true
		}
	}
	if c, ok := s.podmanContainer(host, s.podmanStorage(), w.ContainerID); ok {
		return c, true
	}
	return s.nerdctl(w.ContainerID)
}

func (s *Source) findOfUser(w workload.Want) (workload.Container, bool) {
	home, ok := homeOf(s.o.Root, w.User)
	if !ok {
		return workload.Container{}, false
	}
	if c, ok := docker(home, ".local/share/docker", w.ContainerID); ok {
		return c, true
	}
	return s.podmanContainer(home, ".local/share/containers/storage", w.ContainerID)
}

// dockerData returns where dockerd keeps its data, below the host's root.
func (s *Source) dockerData() []string {
	all := []string{"var/lib/docker", "var/snap/docker/common/var-lib-docker"}
	b, err := (hostfs.Dir{Path: s.o.Root}).Read("etc/docker/daemon.json", maxFile)
	if err != nil {
		return all
	}
	var config struct {
		DataRoot string `json:"data-root"`
		Graph    string `json:"graph"` // its name before 17.05
	}
	if json.Unmarshal(b, &config) != nil {
		return all
	}
	for _, dir := range []string{config.DataRoot, config.Graph} {
		if filepath.IsAbs(dir) {
			all = append([]string{filepath.Clean(dir)[1:]}, all...)
		}
	}
	return all
}

// nerdctl looks for a container that nerdctl made: it leaves the name in the annotations of the OCI bundle. What
// containerd runs for Kubernetes is the CRI's to tell.
func (s *Source) nerdctl(id string) (workload.Container, bool) {
	for _, tasks := range s.Tasks() {
		bundles, err := filepath.Glob(filepath.Join(tasks, "*", id))
		if err != nil {
			return workload.Container{}, false
		}
		for _, bundle := range bundles {
			b, err := (hostfs.Dir{Path: bundle}).Read("config.json", maxFile)
			if err != nil {
				continue
			}
			if name, ok := bundleName(b); ok {
				return workload.Container{Name: name}, true
			}
		}
	}
	return workload.Container{}, false
}

// bundleName reads an OCI runtime configuration.
func bundleName(config []byte) (string, bool) {
	var c struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(config, &c) != nil {
		return "", false
	}
	name := c.Annotations["nerdctl/name"]
	return name, name != ""
}

func isID(id string) bool { return len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" }
