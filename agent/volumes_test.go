// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// A service whose view of the host nobody could read any more wrote to the host; a container did not, nor a service with another root.
func TestFoldersOfTheHost(t *testing.T) {
	d, err := workload.NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{directory: d}
	const host, hostPath, layer = spoorv1.StorageClass_STORAGE_CLASS_HOST, spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
	for _, tc := range []struct {
		kind, hostPath string
		class, want    spoorv1.StorageClass
	}{
		{workload.KindUnit, "", hostPath, host},
		{workload.KindSession, "", hostPath, host},
		{workload.KindUnit, "/srv/root/f", hostPath, hostPath},
		{workload.KindUnit, "", layer, layer},
		{workload.KindContainer, "", hostPath, hostPath},
		{"Deployment", "", hostPath, hostPath},
	} {
		in := workload.NewInstance(&spoorv1.Instance{Workload: &spoorv1.Workload{Kind: tc.kind, Name: "w"}})
		f := &spoorv1.File{Path: "/f", HostPath: tc.hostPath, StorageClass: tc.class}
		a.nameVolume(in, &spoorv1.Record{Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{File: f}}})
		if f.GetStorageClass() != tc.want {
			t.Errorf("%+v is %v", tc, f.GetStorageClass())
		}
	}
}
