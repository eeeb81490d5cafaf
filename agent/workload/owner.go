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
	// The uid of the user whose own service manager made the cgroup. What is below it has names that he chose, which
	// may be those of others.
	User string
	// The path up to and with the component that names the owner: what is below it belongs to it, too.
	Path string
	// A container in a container: the path before the inner one.
	Outer string
}

var (
	// The last component of a container's cgroup: bare (cgroupfs driver), or a scope with the runtime's prefix (systemd
	// driver): cri-containerd-, crio-, docker-, libpod-.
	containerID = regexp.MustCompile(`^(?:([a-z-]+)-)?([0-9a-f]{64})(?:\.scope)?$`)
	// A pod's: pod<uid>, or kubepods-burstable-pod<uid with underscores>.slice. That of a static pod is 32 digits.
	podUID  = regexp.MustCompile(`^(?:kubepods(?:-[a-z]+)?-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
	session = regexp.MustCompile(`^session-([^/]+)\.scope$`)
	user    = regexp.MustCompile(`^user-([0-9]+)\.slice$`)
	manager = regexp.MustCompile(`^user@([0-9]+)\.service$`)
)

// OwnerOf reads an owner off a cgroup path. The innermost container wins, and over the units that run inside it: it is what
// somebody deployed. Clusters that run inside a container put components of their own before those of Kubernetes, so
// no place in the path is special.
func OwnerOf(path string) Owner {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	upTo := func(i int) string { return "/" + strings.Join(parts[:i+1], "/") }

	var pod, container, unit Owner
	user := ""
	for i, p := range parts {
		if m := manager.FindStringSubmatch(p); m != nil {
			user = m[1]
		}
		if m := podUID.FindStringSubmatch(p); m != nil {
			uid := strings.ReplaceAll(m[1], "_", "-")
			pod = Owner{Kind: KindPod, Name: uid, PodUID: uid, User: user, Path: upTo(i)}
			continue
		}
		m := containerID.FindStringSubmatch(p)
		if m == nil {
			if o := unitOf(parts, i, user); o.Kind != "" {
				o.Path = upTo(i)
				unit = o
			}
			continue
		}
		prefix, id := m[1], m[2]
		if strings.HasSuffix(prefix, "conmon") { // the runtime's minder beside a container, not in it; one name for all
			return Owner{Kind: KindUnit, Name: ofUser(user, prefix+".scope"), User: user, Path: upTo(i)}
		}
		inner := Owner{Kind: KindContainer, Name: ofUser(user, id[:12]), ContainerID: id, PodUID: pod.PodUID, User: user, Path: upTo(i)}
		if container.Kind != "" {
			inner.Outer = strings.TrimSuffix(upTo(i), "/"+p)
		}
		container, pod = inner, Owner{}
	}
	switch {
	case pod.Kind != "" && container.Kind == "": // a process in a pod and in none of its containers
		return pod
	case container.Kind != "":
		return container
	case unit.Kind != "":
		return unit
	default:
		return Owner{Kind: KindHost}
	}
}

// unitOf says which unit or session component i stands for, if any. user@1000.service holds the user's own units; it is
// what is left when none of them matched.
func unitOf(parts []string, i int, by string) Owner {
	p := parts[i]
	if m := session.FindStringSubmatch(p); m != nil && by == "" {
		name := "session-" + m[1]
		if i > 0 {
			if u := user.FindStringSubmatch(parts[i-1]); u != nil {
				name = "uid-" + u[1]
			}
		}
		return Owner{Kind: KindSession, Name: name}
	}
	for _, suffix := range []string{".service", ".scope", ".socket", ".mount", ".swap"} {
		if strings.HasSuffix(p, suffix) && p != suffix {
			if manager.MatchString(p) {
				by = ""
			}
			return Owner{Kind: KindUnit, Name: ofUser(by, p), User: by}
		}
	}
	return Owner{}
}

// ofUser tells what a user named from what the system did: anybody may call a unit of his own nginx.service.
func ofUser(uid, name string) string {
	if uid == "" {
		return name
	}
	return "uid-" + uid + ":" + name
}
