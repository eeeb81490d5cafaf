// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"
)

func TestOwnerOf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	const uid = "6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	for _, tc := range []struct {
		name, path string
		want       Owner
	}{
		{"root", "/", Owner{Kind: KindHost}},
		{"unit", "/system.slice/nginx.service", Owner{Kind: KindUnit, Name: "nginx.service"}},
		{"cgroup below a unit", "/system.slice/nginx.service/worker", Owner{Kind: KindUnit, Name: "nginx.service"}},
		{"template", "/system.slice/system-getty.slice/getty@tty1.service", Owner{Kind: KindUnit, Name: "getty@tty1.service"}},
		{"session", "/user.slice/user-1000.slice/session-3.scope", Owner{Kind: KindSession, Name: "uid-1000"}},
		{"user unit", "/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service", Owner{Kind: KindUnit, Name: "sync.service"}},
		{"init", "/init.scope", Owner{Kind: KindUnit, Name: "init.scope"}},
		{"docker, cgroupfs", "/docker/" + id, Owner{Kind: KindContainer, Name: id[:12], ContainerID: id}},
		{"docker, systemd", "/system.slice/docker-" + id + ".scope", Owner{Kind: KindContainer, Name: id[:12], ContainerID: id}},
		{"podman", "/libpod_parent/libpod-" + id, Owner{Kind: KindContainer, Name: id[:12], ContainerID: id}},
		{"cri, cgroupfs", "/kubepods/besteffort/pod" + uid + "/" + id,
			Owner{Kind: KindContainer, Name: id[:12], ContainerID: id, PodUID: uid}},
		{"cri, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") +
			".slice/cri-containerd-" + id + ".scope", Owner{Kind: KindContainer, Name: id[:12], ContainerID: id, PodUID: uid}},
		{"nested cluster", "/k8n1/kubepods/pod" + uid + "/" + id,
			Owner{Kind: KindContainer, Name: id[:12], ContainerID: id, PodUID: uid}},
		{"a unit inside a container", "/docker/" + id + "/system.slice/cron.service", Owner{Kind: KindUnit, Name: "cron.service"}},
		{"no container id", "/foo/" + id[:63], Owner{Kind: KindHost}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := OwnerOf(tc.path); got != tc.want {
				t.Errorf("OwnerOf(%q) = %+v, want %+v", tc.path, got, tc.want)
			}
		})
	}
}

func FuzzOwnerOf(f *testing.F) {
	f.Add("/system.slice/docker-x.scope")
	f.Fuzz(func(t *testing.T, path string) {
		if o := OwnerOf(path); o.Kind == "" || (o.Kind != KindHost && o.Name == "") {
			t.Errorf("OwnerOf(%q) = %+v: no kind or no name", path, o)
		}
	})
}
