// SPDX-License-Identifier: Apache-2.0

package act

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unified is where the cgroup v2 hierarchy is mounted.
func unified(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		m, err := parseMount(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if m.fsType == "cgroup2" {
			return m.point
		}
	}
	t.Fatal("no cgroup v2 hierarchy is mounted: the agent needs one too")
	return ""
}

func TestRolesEnterTheirCgroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root makes cgroups")
		return
	}
	root := unified(t)
	cgroups := map[string]string{}
	for _, role := range []string{roleActor, "other"} {
		dir, err := os.MkdirTemp(root, "spoor-act-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		cgroups[role] = dir
	}
	_, err := Find("posix-shm").Do(t.Context(), Env{
		Dir: t.TempDir(), Cgroups: cgroups, Hold: func(_ context.Context, r *Result) error {
			for _, e := range r.Facts {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", e.Tgid))
				if err != nil {
					return err
				}
				if want := "/" + filepath.Base(cgroups[e.Role]) + "\n"; !strings.Contains(string(text), want) {
					t.Errorf("%s is in\n%s, not in %s", e.Role, text, want)
				}
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseMount(t *testing.T) {
	m, err := parseMount(`43 25 0:37 /sub /mnt/a\040b rw,relatime shared:7 - overlay overlay rw,lowerdir=/l,upperdir=/u\,1\0402,workdir=/w`)
	if err != nil {
		t.Fatal(err)
	}
	if m.id != 43 || m.dev != 37 || m.root != "/sub" || m.point != "/mnt/a b" || m.fsType != "overlay" {
		t.Errorf("mount is %+v", m)
	}
	if upper, ok := m.upper("/mnt/a b/f"); !ok || upper != "/u,1 2/sub/f" {
		t.Errorf("upper is %q, %v", upper, ok)
	}
	if upper, ok := m.upper("/elsewhere/f"); ok {
		t.Errorf("upper of a file elsewhere is %q", upper)
	}
	for _, line := range []string{"", "43 25 0:37 / /mnt rw", "x 25 0:37 / /mnt rw - ext4 /dev/sda rw", "43 25 zero / /mnt rw - ext4 /dev/sda rw"} {
		if m, err := parseMount(line); err == nil {
			t.Errorf("%q is %+v", line, m)
		}
	}
}
