// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spoor/spoor/agent/hostfs"
	"github.com/spoor/spoor/agent/workload"
)

// podmanList is one of the files in which containers/storage lists its containers.
type podmanList struct {
	stamp      stamp
	containers map[string]workload.Container
}

// How many lists are kept in memory; a user has two.
const maxLists = 64

// Containers are listed apart for each storage driver, and apart when they do not outlive the host (podman run --rm).
var podmanLists = []string{
	"overlay-containers/containers.json", "overlay-containers/volatile-containers.json",
	"vfs-containers/containers.json", "vfs-containers/volatile-containers.json",
	"btrfs-containers/containers.json", "btrfs-containers/volatile-containers.json",
}

// podmanContainer looks for a container of podman or buildah.
func (s *Source) podmanContainer(p hostfs.Dir, storage, id string) (workload.Container, bool) {
	for _, file := range podmanLists {
		file = filepath.Join(storage, file)
		key := filepath.Join(p.Path, file)
		list, ok := s.podman[key]
		now, err := stampOf(p, file)
		if err != nil {
			delete(s.podman, key)
			continue
		}
		if !ok || now != list.stamp {
			b, err := p.Read(file, maxFile)
			if err != nil {
				continue
			}
			list = podmanList{now, podmanContainers(b)}
			if len(s.podman) >= maxLists {
				clear(s.podman)
			}
			s.podman[key] = list
		}
		if c, ok := list.containers[id]; ok {
			if labels, ok := podmanLabels(p, storage, id); ok {
				c.Service, c.Labels = service(labels), workload.LabelsOf(labels)
			}
			return c, true
		}
	}
	return workload.Container{}, false
}

// podmanLabels reads the labels of a container in podman's own database (libpod/boltdb_state.go in its source). Later versions of podman have
// one of SQLite instead, which is not read.
func podmanLabels(p hostfs.Dir, storage, id string) (map[string]string, bool) {
	b, ok := settled(p, filepath.Join(storage, "libpod/bolt_state.db"))
	if !ok {
		return nil, false
	}
	config, ok := boltValue(b, "ctr", id, "config")
	var c struct {
		ID     string            `json:"id"`
		Labels map[string]string `json:"labels"`
	}
	if !ok || json.Unmarshal(config, &c) != nil || c.ID != id {
		return nil, false
	}
	return c.Labels, true
}

// podmanContainers reads a list of containers (Container of containers/storage). What a list says beyond that podman
// keeps in its database.
func podmanContainers(list []byte) map[string]workload.Container {
	var all []struct {
		ID      string    `json:"id"`
		Names   []string  `json:"names"`
		Created time.Time `json:"created"`
	}
	if json.Unmarshal(list, &all) != nil {
		return nil
	}
	out := make(map[string]workload.Container, len(all))
	for _, c := range all {
		if isID(c.ID) && len(c.Names) > 0 && c.Names[0] != "" {
			out[c.ID] = workload.Container{Name: c.Names[0], Created: c.Created}
		}
	}
	return out
}

var graphRoot = regexp.MustCompile(`(?m)^\s*graphroot\s*=\s*"(/[^"\\]*)"`)

// podmanStorage returns where the system's podman keeps its data, below the host's root.
func (s *Source) podmanStorage() string {
	b, err := (hostfs.Dir{Path: s.o.Root}).Read("etc/containers/storage.conf", maxFile)
	if err == nil {
		if m := graphRoot.FindSubmatch(b); m != nil {
			return filepath.Clean(string(m[1]))[1:]
		}
	}
	return "var/lib/containers/storage"
}
