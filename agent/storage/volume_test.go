// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	podA   = "/var/lib/kubelet/pods/aaaaaaaa-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	podB   = "/var/lib/kubelet/pods/bbbbbbbb-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	static = "/var/lib/kubelet/pods/6174f32d7bdb8e77b1a2c3d4e5f60718"
)

// A part of a volume, and a volume that two pods share, are visible at several places.
func TestVolumesThatAreSeenTwice(t *testing.T) {
	const host = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 8:1 ` + podA + `/volumes/kubernetes.io~empty-dir/counts/today ` + podA + `/volume-subpaths/counts/meter/0 rw - ext4 /dev/sda1 rw
31 22 8:9 / ` + podA + `/volumes/kubernetes.io~csi/pvc-1/mount rw - ext4 /dev/sdb rw
32 22 8:9 / ` + podB + `/volumes/kubernetes.io~csi/pvc-1/mount rw - ext4 /dev/sdb rw
33 22 8:9 /part ` + podA + `/volume-subpaths/pvc-1/app/1 rw - ext4 /dev/sdb rw
34 22 8:1 /srv/disk ` + podA + `/volumes/kubernetes.io~local-volume/disk-7 rw - ext4 /dev/sda1 rw
35 22 0:50 / ` + static + `/volumes/kubernetes.io~empty-dir/mem rw - tmpfs tmpfs rw
`
	container := func(pod, volumes string) []Mount {
		return parseMounts("90 80 0:60 / / rw - overlay overlay rw,upperdir=/up\n91 90 8:1 " + pod + "/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n" + volumes)
	}
	for name, tc := range map[string]struct {
		own      []Mount
		dev      uint32
		path     string
		want     Volume
		seen, at string
		class    spoorv1.StorageClass
	}{
		"subPath of an emptyDir": {
			container(podA, "92 90 8:1 "+podA+"/volumes/kubernetes.io~empty-dir/counts/today /counts rw - ext4 /dev/sda1 rw\n"), sda1,
			podA + "/volumes/kubernetes.io~empty-dir/counts/today/log",
			Volume{"empty-dir", "counts", podA[len(podA)-36:]},
			"/counts/log", podA + "/volumes/kubernetes.io~empty-dir/counts/today/log", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME,
		},
		"subPath of a claim": {
			container(podA, "92 90 8:9 /part /data rw - ext4 /dev/sdb rw\n"), 8<<20 | 9, "/part/f",
			Volume{"csi", "pvc-1", podA[len(podA)-36:]},
			"/data/f", podA + "/volumes/kubernetes.io~csi/pvc-1/mount/part/f",
			spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME,
		},
		"one volume, the other pod": {
			container(podB, "92 90 8:9 / /data rw - ext4 /dev/sdb rw\n"), 8<<20 | 9, "/f",
			Volume{"csi", "pvc-1", podB[len(podB)-36:]},
			"/data/f", podB + "/volumes/kubernetes.io~csi/pvc-1/mount/f",
			spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME,
		},
		"what kubelet notes beside it": {
			container(podA, ""), sda1, podA + "/volumes/kubernetes.io~csi/pvc-1/vol_data.json",
			Volume{},
			"", podA + "/volumes/kubernetes.io~csi/pvc-1/vol_data.json", spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH,
		},
		"a disk of the node": {
			container(podA, "92 90 8:1 /srv/disk /ledger rw - ext4 /dev/sda1 rw\n"), sda1, "/srv/disk/book",
			Volume{"local-volume", "disk-7", podA[len(podA)-36:]},
			"/ledger/book", podA + "/volumes/kubernetes.io~local-volume/disk-7/book",
			spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME,
		},
		"a static pod's": {
			container(static, "92 90 0:50 / /mem rw - tmpfs tmpfs rw\n"), 50, "/f",
			Volume{"empty-dir", "mem", static[len(static)-32:]},
			"/mem/f", static + "/volumes/kubernetes.io~empty-dir/mem/f",
			spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME,
		},
		"a folder of the node": {
			container(podA, "92 90 8:1 /srv/receipts /receipts rw - ext4 /dev/sda1 rw\n"), sda1, "/srv/receipts/1",
			Volume{},
			"/receipts/1", "/srv/receipts/1", spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResolver(t)
			r.keep(hostNS, 0, parseMounts(host))
			r.keep(containerNS, 0, tc.own)
			got := r.Locate(containerNS, 0, tc.dev, tc.path)
			if got.Volume != tc.want || got.Path != tc.seen || got.HostPath != tc.at || got.Class != tc.class {
				t.Errorf("Locate = %+v,\nwant %+v, seen as %s, at %s, %v", got, tc.want, tc.seen, tc.at, tc.class)
			}
		})
	}
}

// A driver's volume that a pod has without a claim goes with it, which kubelet notes.
func TestVolumesOfDriversThatGoWithTheirPods(t *testing.T) {
	r := newResolver(t)
	r.driven.root = t.TempDir()
	const volumes = podA + "/volumes/kubernetes.io~csi/"
	host := "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	for i, tc := range []struct {
		name, notes string
		class       spoorv1.StorageClass
	}{
		{"drafts", `{"driverName":"d","nodeName":"n","specVolID":"drafts","volumeHandle":"csi-1","volumeLifecycleMode":"Ephemeral"}`, spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
		{"pvc-1", `{"driverName":"d","nodeName":"n","specVolID":"pvc-1","volumeHandle":"vault","volumeLifecycleMode":"Persistent"}`, spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME},
		{"broken", `{`, spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME},
		{"unknown", "", spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME},
	} {
		dir := filepath.Join(r.driven.root, volumes, tc.name)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if tc.notes != "" {
			if err := os.WriteFile(filepath.Join(dir, "vol_data.json"), []byte(tc.notes), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		host += fmt.Sprintf("%d 22 0:%d / %s%s/mount rw - tmpfs tmpfs rw\n", 30+i, 30+i, volumes, tc.name)
		r.keep(hostNS, 0, parseMounts(host))
		for range 2 {
			got := r.Locate(hostNS, 0, uint32(30+i), "/f")
			if got.Class != tc.class || got.Volume.Name != tc.name {
				t.Errorf("%s is %+v, want %v", tc.name, got, tc.class)
			}
			if err := os.RemoveAll(dir); err != nil { // it is remembered
				t.Fatal(err)
			}
		}
	}
}

// A container that ended before anybody could look at its mounts, or whose mounts were read before its runtime had made them:
// its layer is known from the host's.
func TestLayersOfContainersThatAreGone(t *testing.T) {
	const before = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	const task = "40 22 0:70 / /run/tasks/k8s.io/c1/rootfs rw - overlay overlay rw,lowerdir=/l,upperdir=/snap/7/fs,workdir=/snap/7/work\n"
	for name, own := range map[string]string{"never seen": "", "seen too early": before + task} {
		t.Run(name, func(t *testing.T) {
			r := newResolver(t)
			r.keep(hostNS, 0, parseMounts(before+task))
			r.keep(hostNS, 0, parseMounts(before)) // unmounted
			ns := uint32(300)
			if own != "" {
				r.keep(ns, 0, parseMounts(own))
			}
			for path, want := range map[string]string{
				"/snap/7/fs/tmp/blink": "/tmp/blink", "/snap/7/fs": "/", "/snap/7/work/work/#1": "/snap/7/work/work/#1",
			} {
				got := r.Locate(ns, 0, sda1, path)
				if got.Path != want || got.Class != spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER || got.HostPath != path {
					t.Errorf("%s is %+v, want %s in the writable layer", path, got, want)
				}
			}
			if got := r.Locate(ns, 0, sda1, "/snap/8/fs/x"); got.Class != spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH {
				t.Errorf("what is no layer of a container is %+v", got)
			}
			if got := r.Locate(hostNS, 0, sda1, "/snap/7/fs/x"); got.Class != spoorv1.StorageClass_STORAGE_CLASS_HOST {
				t.Errorf("what the host writes is %+v", got)
			}
		})
	}
}

// What is mounted is known at once, and what a program's mounts are is read when it begins.
func TestMountsAreWatched(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if r.watch == nil {
		t.Fatal("the host's mounts are not watched")
	}
	self := uint32(os.Getpid())
	const elsewhere = 7
	r.Enter(elsewhere, self) // not known: nothing to read again
	if _, known := r.tables.Get(elsewhere); known {
		t.Error("a namespace is known that no process is in")
	}
	ns := namespaceOf(self)
	r.hostNS = elsewhere
	r.keep(ns, 0, parseMounts(hostInfo))
	r.Enter(ns, self)
	if table, _ := r.tables.Get(ns); len(table.mounts) == len(parseMounts(hostInfo)) || !table.entered {
		t.Error("the mounts of a program that began were not read again")
	}
}

// The number of a mount namespace is given out again as soon as it is gone. What was done in the one before may be told after a program began in the next.
func TestANumberThatIsGivenOutAgain(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r.now = func() time.Time { return now }
	self := uint32(os.Getpid())
	ns := namespaceOf(self)
	r.hostNS = 0
	const gone, child, stranger = 1 << 30, 1<<30 + 1, 1<<30 + 2 // greater than any process id
	before := parseMounts(containerInfo)
	r.tables.Remove(ns) // the test's own
	r.keep(ns, gone, before)
	if t, ok := r.tables.Peek(ns); ok {
		t.note(child)
	}
	r.Enter(ns, self)
	for _, tgid := range []uint32{gone, child} {
		if got := r.mounts(ns, tgid); len(got) != len(before) {
			t.Errorf("%d, who was in the namespace before, sees %d mounts", tgid, len(got))
		}
	}
	for _, tgid := range []uint32{self, stranger} {
		if got := r.mounts(ns, tgid); len(got) == len(before) {
			t.Errorf("%d sees what was mounted in the namespace before", tgid)
		}
	}
	now = now.Add(tableGrace)
	r.mounts(ns, self)
	if got := r.mounts(ns, gone); len(got) == len(before) {
		t.Error("the namespace before is remembered for ever")
	}
}

// Whoever may write to a folder of the host can make one that looks like kubelet's.
func TestWhatOnlyLooksLikeAVolume(t *testing.T) {
	const uid = "cccccccc-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	const host = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:50 / /opt/kubelet/pods/` + uid + `/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw
31 22 0:51 / /home/me/pods/` + uid + `/volumes/kubernetes.io~projected/token rw - fuse.me me rw
`
	r := newResolver(t)
	r.keep(hostNS, 0, parseMounts(host))
	r.keep(containerNS, 0, parseMounts("90 80 0:60 / / rw - overlay overlay rw,upperdir=/up\n91 90 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n"))
	for path, want := range map[string]spoorv1.StorageClass{
		"/opt/kubelet/pods/" + uid + "/volumes/kubernetes.io~configmap/x/f":              spoorv1.StorageClass_STORAGE_CLASS_CONFIG,
		"/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~configmap/x/f":          spoorv1.StorageClass_STORAGE_CLASS_CONFIG,
		"/srv/data/pods/" + uid + "/volumes/kubernetes.io~configmap/x/f":                 spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH,
		"/home/me/pods/" + uid + "/volumes/kubernetes.io~configmap/x/f":                  spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH,
		"/srv/data/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~configmap/x/f": spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH,
	} {
		if got := r.Locate(containerNS, 0, sda1, path); got.Class != want {
			t.Errorf("%s is %+v, want %v", path, got, want)
		}
	}
}

// What kubelet notes of a driver's volume may be anything where somebody else put it there.
func TestNotesThatAreNone(t *testing.T) {
	const dir = "/pods/volume"
	for name, make := range map[string]func(at string) error{
		"a pipe": func(at string) error { return unix.Mkfifo(at, 0o600) },
		"a link": func(at string) error { return os.Symlink("../elsewhere", at) },
		"a large": func(at string) error {
			return os.WriteFile(at, []byte(`{"volumeLifecycleMode":"Ephemeral"}`+strings.Repeat(" ", maxDrivenData)), 0o600)
		},
	} {
		d := newDriven(t.TempDir())
		if err := os.MkdirAll(filepath.Join(d.root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.root, "pods/elsewhere"), []byte(`{"volumeLifecycleMode":"Ephemeral"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := make(filepath.Join(d.root, dir, drivenData)); err != nil {
			t.Fatal(err)
		}
		if d.passing(Volume{Type: csi, Name: name}, dir) {
			t.Errorf("%s is believed", name)
		}
	}
}
