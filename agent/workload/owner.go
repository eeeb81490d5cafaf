// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"regexp"
	"strings"
)

// Owner is what a cgroup path alone tells.
type Owner struct {
	Kind, Name string
	// 64 hex digits, where there is a container.
	ContainerID string
	// With dashes, where the path has a pod.
	PodUID string
}

var (
	// The last component of a container's cgroup: bare (cgroupfs driver), or a scope with the runtime's prefix (systemd
	// driver): cri-containerd-, crio-, docker-, libpod-.
	containerID = regexp.MustCompile(`^(?:[a-z-]+-)?([0-9a-f]{64})(?:\.scope)?$`)
	// A pod's: pod<uid>, or kubepods-burstable-pod<uid with underscores>.slice.
	podUID  = regexp.MustCompile(`^(?:kubepods(?:-[a-z]+)?-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
	session = regexp.MustCompile(`^session-([^/]+)\.scope$`)
	user    = regexp.MustCompile(`^user-([0-9]+)\.slice$`)
)

// OwnerOf reads an owner off a cgroup path, innermost first: a container inside a unit is the container. Clusters that
// run inside a container put components of their own before those of Kubernetes, so no place in the path is special.
func OwnerOf(path string) Owner {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		if m := containerID.FindStringSubmatch(p); m != nil {
			o := Owner{Kind: KindContainer, Name: m[1][:12], ContainerID: m[1]}
			for _, q := range parts[:i] {
				if m := podUID.FindStringSubmatch(q); m != nil {
					o.PodUID = strings.ReplaceAll(m[1], "_", "-")
				}
			}
			return o
		}
		if m := session.FindStringSubmatch(p); m != nil {
			name := "session-" + m[1]
			if i > 0 {
				if u := user.FindStringSubmatch(parts[i-1]); u != nil {
					name = "uid-" + u[1]
				}
			}
			return Owner{Kind: KindSession, Name: name}
		}
		// user@1000.service holds the user's own units; it is what is left when none of them matched.
		for _, suffix := range []string{".service", ".scope", ".socket", ".mount"} {
			if strings.HasSuffix(p, suffix) {
				return Owner{Kind: KindUnit, Name: p}
			}
		}
	}
	return Owner{Kind: KindHost}
}
