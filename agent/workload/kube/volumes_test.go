// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/agent/workload"
)

func TestVolumesOf(t *testing.T) {
	const pod = `{"metadata": {"name": "orders-0"}, "spec": {
		"volumes": [
			{"name": "cache", "emptyDir": {"medium": "Memory"}},
			{"name": "ledger", "persistentVolumeClaim": {"claimName": "ledger-orders-0"}},
			{"name": "receipts", "hostPath": {"path": "/srv/receipts"}},
			{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
			{"name": "nobody's", "secret": {}}, 7
		],
		"initContainers": [{"name": "prepare", "volumeMounts": [{"name": "ledger", "mountPath": "/new"}]}],
		"containers": [{"name": "orders", "volumeMounts": [
			{"name": "cache", "mountPath": "/cache"}, {"name": "ledger", "mountPath": "/data", "subPath": "a"},
			{"name": "receipts", "mountPath": "/receipts/"}, {"name": "scratch", "mountPath": "/scratch"}, {"name": "unknown", "mountPath": "/x"}, "?"
		]}, {"volumeMounts": "none"}]
	}}`
	var object map[string]any
	if err := json.Unmarshal([]byte(pod), &object); err != nil {
		t.Fatal(err)
	}
	claim := workload.Volume{Name: "ledger", Type: "persistentVolumeClaim", Claim: "ledger-orders-0"}
	want := []workload.VolumeMount{
		{Container: "prepare", Path: "/new", Volume: claim},
		{Container: "orders", Path: "/cache", Volume: workload.Volume{Name: "cache", Type: "emptyDir", Ephemeral: true}},
		{Container: "orders", Path: "/data", Volume: claim},
		{Container: "orders", Path: "/receipts/", Volume: workload.Volume{Name: "receipts", Type: "hostPath"}},
		{Container: "orders", Path: "/scratch", Volume: workload.Volume{Name: "scratch", Type: "ephemeral", Claim: "orders-0-scratch", Ephemeral: true}},
	}
	if diff := cmp.Diff(want, volumesOf(object)); diff != "" {
		t.Error(diff)
	}
}

func FuzzVolumesOf(f *testing.F) {
	f.Add([]byte(`{"spec": {"volumes": [{"name": "a", "emptyDir": {}}], "containers": [{"name": "c", "volumeMounts": [{"name": "a", "mountPath": "/a"}]}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var object map[string]any
		if json.Unmarshal(b, &object) != nil {
			return
		}
		for _, m := range volumesOf(object) {
			if m.Container == "" || m.Path == "" {
				t.Errorf("a mount of nobody, or nowhere: %+v", m)
			}
		}
	})
}
