// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"
)

func TestOwnerOf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	inner := strings.Repeat("fedcba9876543210", 4)
	const uid = "6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	underscored := strings.ReplaceAll(uid, "-", "_")
	container := func(path string, change ...func(*Owner)) Owner {
		o := Owner{Kind: KindContainer, Name: id[:12], ContainerID: id, Path: path}
		for _, c := range change {
			c(&o)
		}
		return o
	}
	inPod := func(o *Owner) { o.PodUID = uid }
	for _, tc := range []struct {
		name, path string
		want       Owner
	}{
		{"root", "/", Owner{Kind: KindHost}},
		{"unit", "/system.slice/nginx.service", Owner{Kind: KindUnit, Name: "nginx.service", Path: "/system.slice/nginx.service"}},
		{
			"cgroup below a unit", "/system.slice/nginx.service/worker",
			Owner{Kind: KindUnit, Name: "nginx.service", Path: "/system.slice/nginx.service"},
		},
		{
			"template", "/system.slice/system-getty.slice/getty@tty1.service",
			Owner{Kind: KindUnit, Name: "getty@tty1.service", Path: "/system.slice/system-getty.slice/getty@tty1.service"},
		},
		{
			"session", "/user.slice/user-1000.slice/session-3.scope",
			Owner{Kind: KindSession, Name: "uid-1000", Path: "/user.slice/user-1000.slice/session-3.scope"},
		},
		{
			"a user's unit, whatever it is called", "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
			Owner{
				Kind: KindUnit, Name: "uid-1000:nginx.service", User: "1000",
				Path: "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
			},
		},
		{
			"a user's manager", "/user.slice/user-1000.slice/user@1000.service",
			Owner{Kind: KindUnit, Name: "user@1000.service", Path: "/user.slice/user-1000.slice/user@1000.service"},
		},
		{
			"no session of its own below a user's manager", "/user.slice/user-1000.slice/user@1000.service/session-1.scope",
			Owner{
				Kind: KindUnit, Name: "uid-1000:session-1.scope", User: "1000",
				Path: "/user.slice/user-1000.slice/user@1000.service/session-1.scope",
			},
		},
		{"init", "/init.scope", Owner{Kind: KindUnit, Name: "init.scope", Path: "/init.scope"}},
		{"docker, cgroupfs", "/docker/" + id, container("/docker/" + id)},
		{"docker, systemd", "/system.slice/docker-" + id + ".scope", container("/system.slice/docker-" + id + ".scope")},
		{
			"docker of a user", "/user.slice/user-7.slice/user@7.service/app.slice/docker-" + id + ".scope",
			container("/user.slice/user-7.slice/user@7.service/app.slice/docker-"+id+".scope", func(o *Owner) {
				o.User, o.Name = "7", "uid-7:"+id[:12]
			}),
		},
		{"podman", "/libpod_parent/libpod-" + id, container("/libpod_parent/libpod-" + id)},
		{"podman, split", "/system.slice/web.service/libpod-payload-" + id, container("/system.slice/web.service/libpod-payload-" + id)},
		{
			"podman's minder", "/machine.slice/libpod-conmon-" + id + ".scope",
			Owner{Kind: KindUnit, Name: "libpod-conmon.scope", Path: "/machine.slice/libpod-conmon-" + id + ".scope"},
		},
		{
			"cri-o's minder in the pod", "/kubepods.slice/kubepods-pod" + underscored + ".slice/crio-conmon-" + id + ".scope",
			Owner{
				Kind: KindUnit, Name: "crio-conmon.scope",
				Path: "/kubepods.slice/kubepods-pod" + underscored + ".slice/crio-conmon-" + id + ".scope",
			},
		},
		{"cri, cgroupfs", "/kubepods/besteffort/pod" + uid + "/" + id, container("/kubepods/besteffort/pod"+uid+"/"+id, inPod)},
		{"cri, cgroupfs, cri-o", "/kubepods/pod" + uid + "/crio-" + id + "/container", container("/kubepods/pod"+uid+"/crio-"+id, inPod)},
		{
			"cri, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underscored + ".slice/cri-containerd-" + id + ".scope",
			container("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"+underscored+".slice/cri-containerd-"+id+".scope", inPod),
		},
		{"static pod", "/kubepods/pod" + id[:32] + "/" + id, container("/kubepods/pod"+id[:32]+"/"+id, func(o *Owner) { o.PodUID = id[:32] })},
		{"nested cluster", "/k8n1/kubepods/pod" + uid + "/" + id, container("/k8n1/kubepods/pod"+uid+"/"+id, inPod)},
		{
			"in a pod, in no container", "/kubepods/burstable/pod" + uid + "/sandbox",
			Owner{Kind: KindPod, Name: uid, PodUID: uid, Path: "/kubepods/burstable/pod" + uid},
		},
		{"a unit inside a container", "/docker/" + id + "/system.slice/cron.service", container("/docker/" + id)},
		{
			"a pod inside a container", "/docker/" + inner + "/kubelet.slice/pod" + uid + "/" + id,
			container("/docker/"+inner+"/kubelet.slice/pod"+uid+"/"+id, inPod, func(o *Owner) {
				o.Outer = "/docker/" + inner + "/kubelet.slice/pod" + uid
			}),
		},
		{
			"a container inside a pod", "/kubepods/pod" + uid + "/" + inner + "/docker/" + id,
			container("/kubepods/pod"+uid+"/"+inner+"/docker/"+id, func(o *Owner) { o.Outer = "/kubepods/pod" + uid + "/" + inner + "/docker" }),
		},
		{"no container id", "/foo/" + id[:63], Owner{Kind: KindHost}},
		{"a suffix is no name", "/foo/.service", Owner{Kind: KindHost}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := OwnerOf(tc.path); got != tc.want {
				t.Errorf("OwnerOf(%q) =\n%+v, want\n%+v", tc.path, got, tc.want)
			}
		})
	}
}

func FuzzOwnerOf(f *testing.F) {
	id := strings.Repeat("0123456789abcdef", 4)
	f.Add("/system.slice/docker-x.scope")
	f.Add("/docker/" + id + "/kubepods/pod6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e/" + id)
	f.Add("/user.slice/user-1.slice/user@1.service/a.service")
	f.Fuzz(func(t *testing.T, path string) {
		o := OwnerOf(path)
		if o.Kind == "" || (o.Kind != KindHost && (o.Name == "" || o.Path == "")) {
			t.Errorf("OwnerOf(%q) = %+v: no kind, name or path", path, o)
		}
		if o.ContainerID != "" && len(o.ContainerID) != 64 {
			t.Errorf("OwnerOf(%q) has a container id of %d digits", path, len(o.ContainerID))
		}
		if o.Outer != "" && !strings.HasPrefix(o.Path, o.Outer) {
			t.Errorf("OwnerOf(%q): %q is not around %q", path, o.Outer, o.Path)
		}
	})
}
