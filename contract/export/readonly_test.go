// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

func TestReadOnlyRoot(t *testing.T) {
	p, limits, err := ToReadOnlyRoot(parse(t, checkout), "app", nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "readonly.yaml", p, limits)
}

// Where a volume is mounted already it stays, and what would have failed is known by what was done.
func TestReadOnlyRootOfWhatIsThere(t *testing.T) {
	c := parse(t, checkout)
	p, limits, err := ToReadOnlyRoot(c, "app", []string{"/var/lib/app/", "/data"})
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, m := range p.Spec.Template.Spec.Containers[0].VolumeMounts {
		dirs = append(dirs, m.MountPath)
	}
	if diff := cmp.Diff([]string{"/tmp", "/var/cache/tpl"}, dirs); diff != "" || len(p.Spec.Template.Spec.Volumes) != 2 || len(limits) != 1 {
		t.Error(diff, limits)
	}
	w, err := p.Witness(c, []string{"/var/lib/app/", "/data"})
	if err != nil {
		t.Fatal(err)
	}
	layer, other := spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME
	did := func(workload *spoorv1.Workload, container, path string, class spoorv1.StorageClass, rename bool) {
		ev := &spoorv1.Event{
			Instance: &spoorv1.Instance{Workload: workload, ContainerName: container}, Process: &spoorv1.Process{Exe: "/usr/sbin/app"},
			Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: path, StorageClass: class}, Changes: 3}},
		}
		if rename {
			ev.Fact = &spoorv1.Event_FileChange{FileChange: &spoorv1.FileChange{File: &spoorv1.File{Path: path, StorageClass: class}}}
		}
		w.Observe(ev)
	}
	me := pods[0].workload
	for _, path := range []string{"/tmp/x", "/tmp", "/var/cache/tpl/y", "/var/lib/app/z", "/data/deep/er"} {
		did(me, "app", path, layer, false)
	}
	did(me, "proxy", "/etc/x", layer, false)
	did(me, "app", "/etc/x", other, false)
	did(pods[1].workload, "app", "/etc/x", layer, false)
	did(me, "app", "/etc/app/1234.conf", layer, false)
	did(me, "", "/etc/app/5678.conf", layer, true)
	did(me, "", "/etc/app/other", layer, true)
	did(me, "app", "/etc/app", layer, true) // its copy in the upper layer
	did(me, "app", "/tmpx/y", layer, false)
	did(me, "app", "/run/overlay/work/work/#7", layer, false)
	want := []Limit{
		{"/etc/app", contract.Narrower, "/usr/sbin/app changed /etc/app/*.conf, /etc/app/other in 3 events, the last at 1970-01-01 00:00:00 UTC, and would have failed: it needs a volume there"},
		{"/tmpx", contract.Narrower, "/usr/sbin/app changed /tmpx/y in 1 events, the last at 1970-01-01 00:00:00 UTC, and would have failed: it needs a volume there"},
	}
	if diff := cmp.Diff(want, w.Limits()); diff != "" {
		t.Error(diff)
	}
	for i := range 2 * maxBroken {
		did(me, "app", fmt.Sprintf("/opt/%c%c/x", 'a'+i%26, 'a'+i/26), layer, false) // three directories are there already
	}
	if limits := w.Limits(); len(limits) != maxBroken || !strings.Contains(limits[maxBroken-1].Why, "203 more") {
		t.Errorf("%d limits, the last: %v", len(limits), limits[len(limits)-1])
	}
}

func TestVolumeNamesAreUniqueLabels(t *testing.T) {
	seen := map[string]bool{}
	for i, dir := range []string{"/tmp", "/Tmp", "/var/lib/a.b_c", "/" + strings.Repeat("x", 100), "/ü", "/-"} {
		name := volumeName(dir, i)
		if len(name) > 63 || seen[name] || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(name, "-") {
			t.Errorf("%s gives %q", dir, name)
		}
		seen[name] = true
	}
	if len(maps.Clone(seen)) != 6 {
		t.Error(seen)
	}
}
