// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/spoor/spoor/agent/hostfs"
	"github.com/spoor/spoor/agent/workload"
)

// docker looks for a container of dockerd.
func docker(p hostfs.Dir, data, id string) (workload.Container, bool) {
	b, err := p.Read(filepath.Join(data, "containers", id, "config.v2.json"), maxFile)
	if err != nil {
		return workload.Container{}, false
	}
	return dockerContainer(b, id)
}

// dockerContainer reads the state that dockerd keeps of a container (container.Container in its source).
func dockerContainer(config []byte, id string) (workload.Container, bool) {
	var c struct {
		ID           string
		Name         string // with a slash before it
		Created      time.Time
		RestartCount uint32
		Config       struct{ Labels map[string]string }
		State        struct{ StartedAt time.Time }
	}
	if json.Unmarshal(config, &c) != nil || c.ID != id {
		return workload.Container{}, false
	}
	name := strings.TrimPrefix(c.Name, "/")
	if name == "" {
		return workload.Container{}, false
	}
	out := workload.Container{Name: name, Created: c.Created, Restarts: c.RestartCount, Service: service(c.Config.Labels), Labels: workload.LabelsOf(c.Config.Labels)}
	if c.State.StartedAt.After(c.Created) {
		out.Created = c.State.StartedAt
	}
	return out, true
}

// service returns what a container is one copy of, as docker compose and podman compose label it.
func service(labels map[string]string) string {
	for _, prefix := range []string{"com.docker.compose.", "io.podman.compose."} {
		project, name := labels[prefix+"project"], labels[prefix+"service"]
		if project != "" && name != "" {
			return project + "-" + name
		}
	}
	return ""
}
