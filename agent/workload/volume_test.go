// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"
)

func TestVolumeOfAPath(t *testing.T) {
	d, err := NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	mounts := []VolumeMount{
		{"app", "/data", Volume{Name: "outer"}},
		{"app", "/data/cache/", Volume{Name: "inner"}},
		{"app", "/", Volume{Name: "all"}},
		{"other", "/data/cache/deep", Volume{Name: "another container's"}},
		{"long", "/x", Volume{Name: strings.Repeat("n", 2*maxName)}},
	}
	d.AddVolumes("pod", mounts)
	d.AddVolumes("", mounts)
	d.AddVolumes("none", nil)
	for path, want := range map[string]string{
		"/data/f": "outer", "/data": "outer", "/data/cache/deep/f": "inner", "/database": "all", "/f": "all",
	} {
		if v, ok := d.Volume("pod", "app", path); !ok || v.Name != want {
			t.Errorf("%s is on %q, %t; want %q", path, v.Name, ok, want)
		}
	}
	if v, ok := d.Volume("pod", "init", "/data/f"); ok {
		t.Errorf("a container without mounts has %v", v)
	}
	if v, ok := d.Volume("", "app", "/data/f"); ok {
		t.Errorf("nobody's pod has %v", v)
	}
	if v, _ := d.Volume("pod", "long", "/x/f"); len(v.Name) != maxName {
		t.Errorf("a name of %d bytes was kept", len(v.Name))
	}
	d.AddVolumes("many", make([]VolumeMount, 2*maxVolumeMounts))
	if kept, _ := d.volumes.Get("many"); len(kept) != maxVolumeMounts {
		t.Errorf("%d mounts of one pod were kept", len(kept))
	}
}
