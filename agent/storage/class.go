// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"regexp"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

var (
	// The types of file systems that are another machine's: they outlive this one.
	network = map[string]bool{"nfs": true, "nfs4": true, "cifs": true, "smb3": true, "ceph": true, "lustre": true, "afs": true}
	// What containers' roots are copied to by the storage driver vfs of docker and podman, which does without layers.
	copied = regexp.MustCompile(`/vfs/dir/[0-9a-f]{64}$`)
)

// Where systemd makes what a service sees of the host before it enters that: until version 253, and since (src/core/namespace.c).
var staging = []string{"/run/systemd/unit-root", "/run/systemd/mount-rootfs"}

// ClassOf says what the type of a file system alone tells of its files.
func ClassOf(fsType string) spoorv1.StorageClass {
	switch {
	case fsType == "tmpfs" || fsType == "ramfs":
		return spoorv1.StorageClass_STORAGE_CLASS_TMPFS
	case network[fsType]:
		return spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME
	default:
		return spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED
	}
}

// classOf says what becomes of a file that is in no layer and on no volume of a pod. Path is within the file system dev; own is what the
// process sees, where that is not the host.
func classOf(fsType string, dev uint32, path string, own []Mount, onHost bool) spoorv1.StorageClass {
	if class := ClassOf(fsType); class != spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
		return class
	}
	switch {
	case onHost:
		return spoorv1.StorageClass_STORAGE_CLASS_HOST
	case fsType == "":
		return spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED
	}
	if root := rootOf(own); root.Dev == dev && copied.MatchString(root.Root) {
		if _, inside := below(path, root.Root); inside {
			return spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
		}
	}
	return spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH
}

// rootOf returns what is mounted at the root of a view.
func rootOf(mounts []Mount) Mount {
	for _, m := range slices.Backward(mounts) {
		if m.Point == "/" {
			return m
		}
	}
	return Mount{}
}

func sameRoot(one, other Mount) bool {
	return one.Point != "" && one.Dev == other.Dev && one.Root == other.Root
}

// unstage corrects the path of a process whose view was read while it was being made, because it ended so soon: what is below the root
// to be is below "/". It says whether that root is the host's.
func unstage(p *Place, own, host []Mount) bool {
	for _, m := range slices.Backward(own) {
		if m.UpperDir == "" && !slices.Contains(staging, m.Point) || m.Point == "/" {
			continue
		}
		if rest, ok := below(p.Path, m.Point); ok {
			p.Path = join("/", rest)
			return sameRoot(m, rootOf(host))
		}
	}
	return false
}
