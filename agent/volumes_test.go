// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/spoor/spoor/agent/storage"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// A service whose view of the host nobody could read any more wrote to the host; a container did not, nor a service with another root.
func TestFoldersOfTheHost(t *testing.T) {
	const host, hostPath, layer = spoorv1.StorageClass_STORAGE_CLASS_HOST, spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH, spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
	for _, tc := range []struct {
		kind, hostPath string
		known          bool
		class, want    spoorv1.StorageClass
	}{
		{workload.KindUnit, "/f", false, hostPath, host},
		{workload.KindSession, "/f", false, hostPath, host},
		{workload.KindUnit, "/f", true, hostPath, hostPath},
		{workload.KindUnit, "/srv/root/f", false, hostPath, hostPath},
		{workload.KindUnit, "/f", false, layer, layer},
		{workload.KindContainer, "/f", false, hostPath, hostPath},
		{"Deployment", "/f", false, hostPath, hostPath},
	} {
		in := workload.NewInstance(&spoorv1.Instance{Workload: &spoorv1.Workload{Kind: tc.kind, Name: "w"}})
		if got := classFor(&storage.Place{Path: "/f", HostPath: tc.hostPath, Class: tc.class, Guessed: !tc.known}, in); got != tc.want {
			t.Errorf("%+v is %v", tc, got)
		}
	}
}
