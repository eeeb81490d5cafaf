// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Pods of a CRI-O: with the cgroups that it makes itself below a prefix, as in a nested cluster, or, where systemd is, those that it
// has systemd make; each with an emptyDir, shared memory of its own, and a container that is started again.
func TestCRIO(t *testing.T) {
	driver, branch := "cgroupfs", "/spoor-crio"
	if comm, err := os.ReadFile("/proc/1/comm"); err != nil || string(comm) == "systemd\n" {
		driver, branch = "systemd", ""
	}
	t.Logf("cgroups are made by %s", driver)
	r := startCRIO(t, driver)
	told := newRuns(t)
	args := []string{"--node", "vm", "--cri-socket", r.socket}
	if branch != "" {
		args = append(args, "--cgroup", branch)
		t.Cleanup(func() { removeBelow(t, branch) })
	}
	a := startAgent(t, told.add, args...)
	told.untilCovered()

	for i, quality := range []string{"besteffort", "burstable", ""} {
		p := r.pod(fmt.Sprintf("till-6c8f9d7b4-%05d", i), quality, branch)
		cache := filepath.Join("/var/lib/kubelet/pods", p.uid, "volumes/kubernetes.io~empty-dir/cache")
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(filepath.Join("/var/lib/kubelet/pods", p.uid)) })
		till := run{
			what: "a container in " + p.config.GetLinux().GetCgroupParent(), kind: "Deployment", name: "till", namespace: "shop",
			container: "till", pod: p.config.GetMetadata().GetName(), uid: p.uid, class: layer,
		}
		p.run(told, till)
		till.what, till.restarts = "its second life", 1
		p.run(told, till)
		till.what, till.restarts, till.container, till.class, till.volume = "one with a volume", 0, "keep", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME, "cache"
		p.run(told, till, &cri.Mount{HostPath: cache, ContainerPath: "/tmp"})
		memory := filepath.Join(filepath.Dir(cache), "memory")
		mountTmpfs(t, memory)
		till.what, till.container, till.volume = "one with a volume in memory", "hold", "memory"
		p.run(told, till, &cri.Mount{HostPath: memory, ContainerPath: "/tmp"})
		p.remove()
	}
	time.Sleep(time.Second) // as in any node, the runtime goes on when a pod is gone
	a.stop()
	told.check()
}

// crio is a CRI-O that runs, and what it needs.
type crio struct {
	*testing.T
	cri.RuntimeServiceClient
	socket, driver string
}

func startCRIO(t *testing.T, driver string) *crio {
	t.Helper()
	dir := scratch(t)
	storage := filepath.Join(dir, "storage")
	shop := shopProgram(t)
	run := filepath.Join(dir, "run")
	importToPodman(t, shop, "--root", storage, "--runroot", run, "--storage-driver", "overlay")
	programs, err := filepath.Abs("../../build/crio")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cni/10.conflist", `{"cniVersion": "1.0.0", "name": "spoor", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "`+dir+`/ipam",
		"ranges": [[{"subnet": "10.245.0.0/24"}]]}}]}`)
	write("policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`)
	write("crio.conf", strings.NewReplacer("DIR", dir, "STORAGE", storage, "RUN", run, "PROGRAMS", programs, "DRIVER", driver).Replace(`
[crio]
root = "STORAGE"
runroot = "RUN"
storage_driver = "overlay"
log_dir = "DIR/log"
version_file = "DIR/version"
version_file_persist = "DIR/version-kept"
clean_shutdown_file = "DIR/clean"
[crio.api]
listen = "DIR/crio.sock"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
cgroup_manager = "DRIVER"
conmon_cgroup = "pod"
pinns_path = "PROGRAMS/pinns"
namespaces_dir = "DIR/namespaces"
container_exits_dir = "DIR/exits"
container_attach_socket_dir = "DIR/attach"
hooks_dir = []
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_path = "/usr/sbin/runc"
runtime_root = "DIR/runc"
monitor_path = "/usr/bin/conmon"
[crio.image]
pause_image = "localhost/shop:test"
pause_command = "/shop pause"
signature_policy = "DIR/policy.json"
[crio.network]
network_dir = "DIR/cni"
plugin_dirs = ["/usr/lib/cni"]
[crio.metrics]
enable_metrics = false
`))
	said := filepath.Join(dir, "said")
	out, err := os.Create(said)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(programs, "crio"), "--config", filepath.Join(dir, "crio.conf"), "--config-dir", filepath.Join(dir, "none"))
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(said)
			t.Logf("CRI-O said:\n%s", text[max(0, len(text)-4000):])
		}
		for _, mount := range slices.Backward(mounts(t)) {
			if strings.HasPrefix(mount[1], dir+"/") {
				_ = syscall.Unmount(mount[1], syscall.MNT_DETACH)
			}
		}
	})
	r := &crio{T: t, socket: filepath.Join(dir, "crio.sock"), driver: driver}
	connection, err := grpc.NewClient("unix://"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	r.RuntimeServiceClient = cri.NewRuntimeServiceClient(connection)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err = r.Version(t.Context(), &cri.VersionRequest{}); err == nil {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("CRI-O does not answer: %v", err)
		}
	}
}

// image is what importToPodman leaves.
const image = "localhost/shop:test"

// criPod is one that a kubelet would have asked for.
type criPod struct {
	*crio
	uid, id string
	config  *cri.PodSandboxConfig
	labels  map[string]string
}

func (r *crio) pod(name, quality, branch string) *criPod {
	r.Helper()
	p := &criPod{crio: r, uid: newUID()}
	p.labels = map[string]string{
		"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": p.uid, "pod-template-hash": "6c8f9d7b4",
	}
	// As kubelet calls them (pkg/kubelet/cm).
	parent := branch + filepath.Join("/kubepods", quality, "pod"+p.uid)
	if r.driver == "systemd" {
		parent = "kubepods-" + quality + "-pod" + strings.ReplaceAll(p.uid, "-", "_") + ".slice"
		parent = strings.ReplaceAll(parent, "--", "-")
	}
	// What holds the namespaces is no process, unless containers share that of processes.
	security := &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}}
	p.config = &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "shop", Uid: p.uid}, Labels: p.labels, Hostname: name,
		LogDirectory: filepath.Join(filepath.Dir(r.socket), "pods", p.uid),
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: parent, SecurityContext: security},
	}
	answer, err := r.RunPodSandbox(r.Context(), &cri.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		r.Fatal(err)
	}
	p.id = answer.GetPodSandboxId()
	return p
}

// run runs one life of a container to its end.
func (p *criPod) run(told *runs, r run, mounts ...*cri.Mount) {
	p.Helper()
	args := r.args(told.expect(r))
	ctx, done := context.WithTimeout(p.Context(), time.Minute)
	defer done()
	made, err := p.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.id, SandboxConfig: p.config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: r.container, Attempt: r.restarts}, Image: &cri.ImageSpec{Image: image, UserSpecifiedImage: image}, Args: args,
		Labels: map[string]string{
			"io.kubernetes.container.name": r.container, "io.kubernetes.pod.name": r.pod, "io.kubernetes.pod.namespace": r.namespace, "io.kubernetes.pod.uid": p.uid,
		},
		Annotations: map[string]string{"io.kubernetes.container.restartCount": fmt.Sprint(r.restarts)},
		LogPath:     fmt.Sprintf("%s-%d.log", r.container, r.restarts), Mounts: mounts,
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: p.config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}})
	if err != nil {
		p.Fatalf("%s: %v", r.what, err)
	}
	if _, err := p.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.GetContainerId()}); err != nil {
		p.Fatalf("%s: %v", r.what, err)
	}
	for {
		now, err := p.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: made.GetContainerId()})
		if err != nil {
			p.Fatalf("%s: %v", r.what, err)
		}
		if now.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED {
			if now.GetStatus().GetExitCode() != 0 {
				p.Fatalf("%s ended with %d: %s", r.what, now.GetStatus().GetExitCode(), now.GetStatus().GetMessage())
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *criPod) remove() {
	p.Helper()
	if _, err := p.StopPodSandbox(p.Context(), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.Error(err)
	}
	if _, err := p.RemovePodSandbox(p.Context(), &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.Error(err)
	}
}

// removeBelow removes all cgroups of a branch, which nobody is in.
func removeBelow(t *testing.T, branch string) {
	t.Helper()
	for _, tree := range cgroupTrees(t) {
		var dirs []string
		_ = filepath.WalkDir(tree+branch, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append([]string{path}, dirs...)
			}
			return nil
		})
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	}
}
