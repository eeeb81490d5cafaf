// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/spoor/spoor/agent/storage"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// volumeOf is the volume of a place, as far as the node tells; nil when it is on none.
func volumeOf(p *storage.Place) *spoorv1.Volume {
	if p.Volume == (storage.Volume{}) {
		return nil
	}
	return &spoorv1.Volume{Name: p.Volume.Name, Type: p.Volume.Type, PodUid: p.Volume.Pod}
}

// nameVolume completes the volume that a record is about with what the API server says of the pod that wrote, if it does: only now,
// because that may come after the record was made.
func (a *Agent) nameVolume(in *workload.Instance, r *spoorv1.Record) {
	f := r.GetFileWrite().GetFile()
	if f == nil {
		f = r.GetFileChange().GetFile()
	}
	if f == nil {
		f = r.GetShare().GetFile()
	}
	switch f.GetStorageClass() {
	case spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME, spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME,
		spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, spoorv1.StorageClass_STORAGE_CLASS_CONFIG:
	default:
		return
	}
	who := in.Proto()
	v, ok := a.directory.Volume(who.GetPodUid(), who.GetContainerName(), f.GetPath())
	if !ok {
		return
	}
	f.Volume = &spoorv1.Volume{Name: v.Name, Type: v.Type, Claim: v.Claim, PodUid: who.GetPodUid()}
	switch {
	case v.Ephemeral:
		f.StorageClass = spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME
	case v.Type == "persistentVolumeClaim": // also one that is a folder of the node, as clusters of one node have them
		f.StorageClass = spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME
	}
}

// classFor is the storage class of a place that an instance has a file in. A service whose view of the host could not be read (it ended too soon, and has
// PrivateTmp= or the like) is in no container, and sees the file where the host does.
func classFor(p *storage.Place, in *workload.Instance) spoorv1.StorageClass {
	switch in.Proto().GetWorkload().GetKind() {
	case workload.KindUnit, workload.KindSession, workload.KindHost:
		if p.Guessed && p.Class == spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH && p.HostPath == p.Path {
			return spoorv1.StorageClass_STORAGE_CLASS_HOST
		}
	}
	return p.Class
}
