// SPDX-License-Identifier: Apache-2.0

package workload

import "strings"

// Volume is a volume as a pod's spec has it.
type Volume struct {
	Name string
	// The field of the spec that says what it is: emptyDir, persistentVolumeClaim, hostPath, ...
	Type string
	// The PersistentVolumeClaim, if it is one's.
	Claim string
	// It goes with the pod.
	Ephemeral bool
}

// VolumeMount is where one container of a pod has a volume.
type VolumeMount struct {
	Container, Path string
	Volume          Volume
}

// How many mounts of a pod are kept.
const maxVolumeMounts = 256

// AddVolumes tells what volumes the containers of a pod have, and where.
func (d *Directory) AddVolumes(podUID string, mounts []VolumeMount) {
	if podUID == "" || len(mounts) == 0 {
		return
	}
	kept := make([]VolumeMount, 0, min(len(mounts), maxVolumeMounts))
	for _, m := range mounts[:cap(kept)] {
		m.Container, m.Path = clean(m.Container), strings.TrimRight(m.Path, "/")
		m.Volume.Name, m.Volume.Type, m.Volume.Claim = clean(m.Volume.Name), clean(m.Volume.Type), clean(m.Volume.Claim)
		kept = append(kept, m)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.volumes.Add(podUID, kept)
}

// Volume returns the volume that a path is on, as a container of a pod sees it.
func (d *Directory) Volume(podUID, container, path string) (Volume, bool) {
	if podUID == "" {
		return Volume{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	mounts, _ := d.volumes.Get(podUID)
	var best VolumeMount
	found := false
	for _, m := range mounts {
		_, ok := below(path, m.Path)
		if ok && m.Container == container && (!found || len(m.Path) > len(best.Path)) {
			best, found = m, true
		}
	}
	return best.Volume, found
}
