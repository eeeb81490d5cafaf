// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"regexp"
	"slices"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Volume is what kubelet's folders tell of a volume of a pod.
type Volume struct {
	// The name of the plugin: empty-dir, csi, configmap, ...
	Type string
	// That of the volume in the pod's spec; of a persistent volume, that of the PersistentVolume.
	Name string
	// Uid of the pod whose volume it is.
	Pod string
}

var (
	// Kubelet keeps a pod's volumes in folders named after their plugin and themselves (pkg/volume/util,
	// GetPodVolumeDirName). The uid of a static pod is a hash without dashes. A driver's volume is one folder further down, with
	// kubelet's notes of it beside.
	volumeDir = regexp.MustCompile(`/pods/([0-9a-f-]{32,36})/volumes/kubernetes\.io~([a-z0-9-]+)/([^/]+)(/mount)?(?:/|$)`)
	// What kubelet mounts into every container of a pod, where a runtime lets it: a namespace that has it is of that pod.
	podDir = regexp.MustCompile(`/pods/([0-9a-f-]{32,36})/(?:etc-hosts$|containers/|volumes/)`)
)

// usualKubelet is where a kubelet keeps its pods, unless it is told otherwise.
const usualKubelet = "/var/lib/kubelet"

// kubeletsOf returns the folders of kubelets: those in which the host has volumes of pods mounted. Who may write to a folder of the host can make
// one that looks like theirs, and cannot mount anything there but what a program of his own serves (FUSE).
func kubeletsOf(host []Mount) []string {
	all := []string{usualKubelet}
	for _, m := range host {
		at := volumeDir.FindStringIndex(m.Point)
		if at == nil || strings.HasPrefix(m.FSType, "fuse") {
			continue
		}
		if dir := m.Point[:at[0]]; !slices.Contains(all, dir) {
			all = append(all, strings.Clone(dir))
		}
	}
	return all
}

// volumeOf finds the volume that a file is on, and its path there as the host sees it. The file may be visible at several
// places: below the folder of the volume, in that of a subPath, which is mounted beside it and does not say whose part it is, and,
// when pods share a volume, in the folders of each. The one of the pod that looks is taken.
func volumeOf(kubelets []string, host, own []Mount, dev uint32, path string) (seen string, v Volume, ok bool) {
	if path == "" {
		return "", Volume{}, false
	}
	pod := ""
	for _, m := range host {
		if m.Dev != dev {
			continue
		}
		rest, shows := below(path, m.Root)
		if !shows {
			continue
		}
		at := join(m.Point, rest)
		found := volumeDir.FindStringSubmatch(at)
		if found == nil {
			continue
		}
		if kubelet, _, _ := strings.Cut(at, found[0]); !slices.Contains(kubelets, kubelet) {
			continue
		}
		if driven := found[2] == csi; driven && found[4] == "" { // what is beside its mount
			continue
		}
		if ok { // there are several: it matters which
			if pod == "" {
				pod = podOf(own)
			}
			if found[1] != pod {
				continue
			}
		}
		seen, v, ok = at, Volume{Type: found[2], Name: found[3], Pod: found[1]}, true
	}
	return seen, v, ok
}

// podOf returns the uid of the pod that a container's mounts are of; "" when they do not tell.
func podOf(mounts []Mount) string {
	for _, m := range mounts {
		if found := podDir.FindStringSubmatch(m.Root); found != nil {
			return found[1]
		}
	}
	return ""
}

// classOfVolume says what becomes of what is on a volume that was seen at a path.
func (r *Resolver) classOfVolume(v Volume, seen string) spoorv1.StorageClass {
	switch {
	case v.Type == "empty-dir", r.driven.passing(v, folderOf(seen)):
		return spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME
	case slices.Contains([]string{"configmap", "secret", "projected", "downward-api"}, v.Type):
		return spoorv1.StorageClass_STORAGE_CLASS_CONFIG
	default:
		return spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME
	}
}

// folderOf returns kubelet's folder of the volume that a path is on.
func folderOf(seen string) string {
	at := volumeDir.FindStringSubmatchIndex(seen)
	const name = 2 * 3 // its group
	if at == nil {
		return ""
	}
	return seen[:at[name+1]]
}
