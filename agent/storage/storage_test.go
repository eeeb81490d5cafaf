// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const hostInfo = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw shared:2 - proc proc rw
24 22 0:30 / /dev/shm rw shared:3 - tmpfs tmpfs rw
25 22 8:2 / /srv/with\040space rw shared:4 - xfs /dev/sda2 rw
26 22 8:1 /srv/data /mnt/data rw shared:1 - ext4 /dev/sda1 rw
27 22 0:40 / /var/lib/kubelet/pods/6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e/volumes/kubernetes.io~empty-dir/mem rw - tmpfs tmpfs rw
garbage
`

const containerInfo = `90 80 0:50 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/ctr/12/fs,workdir=/var/lib/ctr/12/work
91 90 8:1 /var/lib/kubelet/pods/6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e/volumes/kubernetes.io~empty-dir/cache /cache rw - ext4 /dev/sda1 rw
92 90 8:1 /etc/app /etc/app ro - ext4 /dev/sda1 rw
93 90 8:1 /var/lib/kubelet/pods/6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e/volumes/kubernetes.io~csi/pvc-1/mount /data rw - ext4 /dev/sda1 rw
94 90 8:1 /var/lib/kubelet/pods/6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e/volumes/kubernetes.io~configmap/cfg /cfg rw - ext4 /dev/sda1 rw
95 90 0:40 / /mem rw - tmpfs tmpfs rw
`

// A service of systemd with PrivateTmp=, and a mount of the network.
const serviceInfo = `70 60 8:1 / / ro,relatime - ext4 /dev/sda1 rw
71 70 8:1 /tmp/systemd-private-1/tmp /tmp rw - ext4 /dev/sda1 rw
72 70 0:60 / /mnt/share rw - nfs4 server:/share rw
`

// The same while systemd makes it.
const soonInfo = `70 60 8:1 / / ro,relatime - ext4 /dev/sda1 rw
71 70 8:1 / /run/systemd/unit-root ro - ext4 /dev/sda1 rw
72 71 8:1 /tmp/systemd-private-1/tmp /run/systemd/unit-root/tmp rw - ext4 /dev/sda1 rw
`

// A container while its runtime makes it.
const stagedInfo = `70 60 8:1 / / ro,relatime - ext4 /dev/sda1 rw
71 70 0:51 / /run/task/1/rootfs rw - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/ctr/13/fs,workdir=/var/lib/ctr/13/work
72 71 0:40 / /run/task/1/rootfs/mem rw - tmpfs tmpfs rw
`

const copiedInfo = `80 60 8:1 /var/lib/docker/vfs/dir/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef / rw - ext4 /dev/sda1 rw
81 80 8:1 /etc/app /etc/app rw - ext4 /dev/sda1 rw
`

const (
	hostNS, containerNS, serviceNS, copiedNS, soonNS, stagedNS = 100, 200, 500, 600, 700, 800
	sda1, sda2                                                 = 8<<20 | 1, 8<<20 | 2
)

func newResolver(t *testing.T) *Resolver {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	r.hostNS, r.hostProc = hostNS, 0
	r.tables.Add(hostNS, &table{mounts: parseMounts(hostInfo), read: r.now(), used: r.now()})
	for ns, info := range map[uint32]string{containerNS: containerInfo, serviceNS: serviceInfo, copiedNS: copiedInfo, soonNS: soonInfo, stagedNS: stagedInfo} {
		r.tables.Add(ns, &table{mounts: parseMounts(info), read: r.now(), used: r.now(), entered: true, settled: ns != soonNS && ns != stagedNS})
	}
	return r
}

func TestLocate(t *testing.T) {
	const uid = "6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	const pod = "/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~"
	r := newResolver(t)
	for _, tc := range []struct {
		name string
		ns   uint32
		dev  uint32
		path string
		want Place
	}{
		{"host", hostNS, sda1, "/etc/passwd", Place{"/etc/passwd", "/etc/passwd", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, false}},
		{
			"bind mount of the host: the narrower root", hostNS, sda1, "/srv/data/x",
			Place{"/mnt/data/x", "/mnt/data/x", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, false},
		},
		{
			"no component is cut in the middle", hostNS, sda1, "/srv/database",
			Place{"/srv/database", "/srv/database", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, false},
		},
		{
			"service with a view of its own", serviceNS, sda1, "/srv/x",
			Place{"/srv/x", "/srv/x", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, false},
		},
		{
			"its private /tmp", serviceNS, sda1, "/tmp/systemd-private-1/tmp/x",
			Place{"/tmp/x", "/tmp/systemd-private-1/tmp/x", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, false},
		},
		{
			"service that ended too soon", soonNS, sda1, "/srv/x",
			Place{"/srv/x", "/srv/x", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, true},
		},
		{
			"container that ended too soon", stagedNS, 40, "/x",
			Place{
				"/mem/x", pod + "empty-dir/mem/x", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME, "tmpfs",
				Volume{Type: "empty-dir", Name: "mem", Pod: uid},
				true,
			},
		},
		{
			"NFS", serviceNS, 60, "/x",
			Place{"/mnt/share/x", "", spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME, "nfs4", Volume{}, false},
		},
		{
			"container without layers", copiedNS, sda1, "/var/lib/docker/vfs/dir/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/tmp/x",
			Place{
				"/tmp/x", "/var/lib/docker/vfs/dir/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/tmp/x",
				spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, "ext4",
				Volume{},
				false,
			},
		},
		{
			"its folder of the host", copiedNS, sda1, "/etc/app/x",
			Place{"/etc/app/x", "/etc/app/x", spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, "ext4", Volume{}, false},
		},
		{"escaped mount point", hostNS, sda2, "/f", Place{"/srv/with space/f", "/srv/with space/f", spoorv1.StorageClass_STORAGE_CLASS_HOST, "xfs", Volume{}, false}},
		{"tmpfs", hostNS, 30, "/seg", Place{"/dev/shm/seg", "/dev/shm/seg", spoorv1.StorageClass_STORAGE_CLASS_TMPFS, "tmpfs", Volume{}, false}},
		{
			"writable layer", containerNS, sda1, "/var/lib/ctr/12/fs/app/state.db",
			Place{"/app/state.db", "/var/lib/ctr/12/fs/app/state.db", spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, "ext4", Volume{}, false},
		},
		{
			"emptyDir", containerNS, sda1, pod + "empty-dir/cache/a",
			Place{"/cache/a", pod + "empty-dir/cache/a", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME, "ext4", Volume{"empty-dir", "cache", uid}, false},
		},
		{
			"emptyDir in memory", containerNS, 40, "/a",
			Place{"/mem/a", pod + "empty-dir/mem/a", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME, "tmpfs", Volume{"empty-dir", "mem", uid}, false},
		},
		{
			"claim", containerNS, sda1, pod + "csi/pvc-1/mount/t",
			Place{"/data/t", pod + "csi/pvc-1/mount/t", spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME, "ext4", Volume{"csi", "pvc-1", uid}, false},
		},
		{
			"config map", containerNS, sda1, pod + "configmap/cfg/a",
			Place{"/cfg/a", pod + "configmap/cfg/a", spoorv1.StorageClass_STORAGE_CLASS_CONFIG, "ext4", Volume{"configmap", "cfg", uid}, false},
		},
		{
			"host path", containerNS, sda1, "/etc/app/x",
			Place{"/etc/app/x", "/etc/app/x", spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, "ext4", Volume{}, false},
		},
		{"no mount shows it", containerNS, 99, "/x", Place{}},
		{"no name", hostNS, sda1, "", Place{"", "", spoorv1.StorageClass_STORAGE_CLASS_HOST, "ext4", Volume{}, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := r.Locate(tc.ns, 0, tc.dev, tc.path); got != tc.want {
				t.Errorf("Locate = %+v\nwant     %+v", got, tc.want)
			}
		})
	}
}

func TestStat(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	p := Place{HostPath: name, FSType: "ext4"}
	if size, links, ok := r.Stat(p, st.Ino); !ok || size != 5 || links != 1 {
		t.Errorf("Stat = %d, %d, %v; want 5 bytes, 1 link", size, links, ok)
	}
	if _, _, ok := r.Stat(p, st.Ino+1); ok {
		t.Error("Stat believed a path that leads to another inode")
	}
	if _, _, ok := r.Stat(Place{HostPath: name, FSType: "nfs4"}, st.Ino); ok {
		t.Error("Stat asked a file system that may hang")
	}
}

func TestMountsAreReadAgain(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r.now = func() time.Time { return now }
	self := uint32(os.Getpid())
	ns := namespaceOf(self)
	r.hostNS = 0 // whose mounts are watched instead
	r.tables.Add(ns, &table{read: now})
	if got := r.mounts(ns, self); len(got) != 0 {
		t.Fatalf("a table just read was read again: %v", got)
	}
	now = now.Add(mountsAge)
	if got := r.mounts(ns, self); len(got) == 0 {
		t.Error("an old table was not read again")
	}
	now = now.Add(mountsAge)
	if got := r.mounts(ns, 0); len(got) == 0 {
		t.Error("what was known of a namespace went with its last process")
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(hostInfo)
	f.Add(containerInfo)
	f.Add(`1 2 0:1 / /a\04 rw - x y z`)
	f.Fuzz(func(t *testing.T, in string) {
		for _, m := range parseMounts(in) {
			find([]Mount{m}, m.Dev, "/a/b")
		}
	})
}

// FS_IOC_GETVERSION, include/uapi/linux/fs.h
const getVersion = 0x80087601

func TestFind(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "old"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	generation, err := unix.IoctlGetInt(int(f.Fd()), getVersion)
	if err != nil {
		t.Fatal(err)
	}
	dev := unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)
	if err := os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	got, ok := r.Find(dev, st.Ino, uint32(generation))
	if want := filepath.Join(dir, "new"); !ok || got.HostPath != want || got.Size != 5 || got.Links != 1 {
		t.Errorf("after a rename Find = %+v, %v; want %s with 5 bytes", got, ok, want)
	}
	if _, ok := r.Find(dev, st.Ino, uint32(generation)+1); ok {
		t.Error("Find took an inode of another generation")
	}
	if err := os.Remove(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	if got, ok := r.Find(dev, st.Ino, uint32(generation)); ok && (got.HostPath != "" || got.Links != 0) {
		t.Errorf("after the last name went Find = %+v", got)
	}
}

// The mounts of a namespace are kept for as long as somebody is in it, though nobody asks; then they go.
func TestMountsOfNamespacesThatAreGone(t *testing.T) {
	r := newResolver(t)
	now := time.Now()
	r.now = func() time.Time { return now }
	self := uint32(os.Getpid())
	mine := namespaceOf(self)
	r.keep(mine, self, parseMounts(hostInfo))
	r.keep(300, 0, parseMounts(containerInfo))
	now = now.Add(tableGrace - 1)
	r.keep(400, 0, nil)
	if !r.tables.Contains(300) {
		t.Error("one was forgotten within the grace")
	}
	now = now.Add(1)
	r.keep(500, 0, nil)
	if r.tables.Contains(300) || !r.tables.Contains(400) || !r.tables.Contains(mine) || !r.tables.Contains(hostNS) {
		t.Errorf("remembered: %v, want the host's %d, the test's own %d and the latest", r.tables.Keys(), hostNS, mine)
	}
}
