// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// blink is a pod that makes one file and ends: an overlay over the shop's root, and a real container in it.
type blink struct {
	uid, name string
	sandbox   *cri.PodSandbox
	container *cri.Container
	bundle    string
	cgroup    string
}

func newBlink(dir, branch string, n int) *blink {
	uid := newUID()
	b := &blink{uid: uid, name: fmt.Sprintf("churn-7d4b9c6f8-%05x", n)}
	labels := map[string]string{
		"io.kubernetes.pod.name": b.name, "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": uid,
		"pod-template-hash": "7d4b9c6f8",
	}
	now := time.Now().UnixNano()
	b.sandbox = &cri.PodSandbox{
		Id: newID(), Metadata: &cri.PodSandboxMetadata{Name: b.name, Uid: uid, Namespace: "shop"}, Labels: labels, CreatedAt: now,
	}
	b.container = &cri.Container{
		Id: newID(), PodSandboxId: b.sandbox.GetId(), Metadata: &cri.ContainerMetadata{Name: "blink"}, CreatedAt: now,
		Labels: labels, Annotations: map[string]string{"io.kubernetes.container.restartCount": "0"},
	}
	b.bundle = filepath.Join(dir, b.container.GetId())
	// As CRI-O calls it, with the driver cgroupfs.
	b.cgroup = branch + "/kubepods/besteffort/pod" + uid + "/crio-" + b.container.GetId()
	return b
}

// newUID makes up the uid of a pod (RFC 9562, version 4).
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// run makes the container and waits for its end.
func (b *blink) run(image string) error {
	root := filepath.Join(b.bundle, "merged")
	for _, dir := range []string{b.bundle, root, filepath.Join(b.bundle, "diff"), filepath.Join(b.bundle, "work")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image, filepath.Join(b.bundle, "diff"), filepath.Join(b.bundle, "work"))
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount the root of %s: %w", b.name, err)
	}
	type m = map[string]any
	spec, err := json.Marshal(m{
		"ociVersion": "1.0.2",
		"process":    m{"args": []string{"/shop", "blink"}, "cwd": "/", "env": []string{}, "user": m{"uid": 0, "gid": 0}},
		"root":       m{"path": "merged"},
		"mounts": []m{
			{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
		},
		"linux": m{
			"cgroupsPath": b.cgroup,
			"namespaces":  []m{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}},
		},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.bundle, "config.json"), spec, 0o600); err != nil {
		return err
	}
	// crun works in a hybrid layout when it does not see that it is one.
	const hide = `[ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified; exec crun --root "$1" run --bundle "$2" "$3"`
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh",
		filepath.Join(filepath.Dir(b.bundle), "crun"), b.bundle, b.container.GetId())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", b.name, err, out)
	}
	return nil
}

// remove removes what run made, and the pod's cgroups, as kubelet does.
func (b *blink) remove(trees []string) error {
	if err := unix.Unmount(filepath.Join(b.bundle, "merged"), 0); err != nil {
		return fmt.Errorf("unmount the root of %s: %w", b.name, err)
	}
	if err := os.RemoveAll(b.bundle); err != nil {
		return err
	}
	for _, tree := range trees {
		if err := os.Remove(filepath.Join(tree, filepath.Dir(b.cgroup))); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
