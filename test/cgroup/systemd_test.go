// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	hostFile = spoorv1.StorageClass_STORAGE_CLASS_HOST
	layer    = spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
	hostPath = spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH
	inMemory = spoorv1.StorageClass_STORAGE_CLASS_TMPFS
	farAway  = spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME
)

// Every layout of cgroups that systemd makes, or has others make: units of the system and of a user, a login session, containers of
// docker and podman, and of podman without privileges; and no event of anybody else without a name.
func TestSystemd(t *testing.T) {
	needSystemd(t)
	unified := len(cgroupTrees(t)) == 1
	t.Logf("cgroups of version 2 alone: %v", unified)
	shop := shopProgram(t)
	told := newRuns(t)
	a := startAgent(t, told.add, "--node", "vm")
	told.untilCovered()

	command(t, "systemctl", "start", "docker.service")
	command(t, "sh", "-c", "tar -C "+filepath.Dir(shop)+" -c . | docker import --change 'ENTRYPOINT [\"/shop\"]' - localhost/shop:test")
	importToPodman(t, shop)
	asAnn(t, "mkdir -p ~/desk/tmp ~/unit/tmp ~/bind")
	for _, dir := range []string{"/srv/unit/tmp", "/srv/template/tmp", "/srv/own/tmp", "/srv/bind", "/run/memory/tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}

	told.run(run{what: "a unit", kind: "Unit", name: "till.service", at: "/srv/unit", class: hostFile, times: 2},
		transient("till.service", shop)...)
	told.run(run{what: "an instance of a template in a slice", kind: "Unit", name: "till@two.service", at: "/srv/template", class: hostFile},
		transient("till@two.service", "--slice=shop-counter.slice", shop)...)
	told.run(run{what: "a unit with a view of its own of the host", kind: "Unit", name: "own.service", at: "/srv/own", class: hostFile},
		transient("own.service", "--property=PrivateTmp=yes", "--property=ProtectHome=yes", shop)...)
	told.run(run{what: "a scope", kind: "Unit", name: "counter.scope", at: "/run/memory", class: inMemory},
		"systemd-run", "--quiet", "--scope", "--unit=counter.scope", shop)
	told.run(run{what: "a login", kind: "Session", name: "uid-1000", at: "/home/ann/desk", class: hostFile}, ssh(shop)...)
	ofAnn := "uid-1000:till.service"
	if !unified {
		ofAnn = "user@1000.service"
		checkUsersCgroups(t)
	}
	told.run(run{what: "a user's unit", kind: "Unit", name: ofAnn, at: "/home/ann/unit", class: hostFile},
		ssh("systemd-run --user --quiet --wait --collect --unit=till.service "+shop)...)

	labels := map[string]string{"tier": "front", "example.com/zone": ""}
	docker := []string{"docker", "run", "--network=none", "--label=tier=front", "--label=example.com/zone="}
	told.run(run{what: "docker", kind: "Container", name: "dot", class: layer, labels: labels}, append(docker, "--name=dot", "localhost/shop:test")...)
	told.again("dot", "docker", "start", "--attach", "dot")
	told.run(run{what: "docker, a folder of the host", kind: "Container", name: "dirk", class: hostPath},
		append(docker, "--name=dirk", "--volume=/srv/bind:/tmp", "localhost/shop:test")...)
	told.run(run{what: "docker, in memory", kind: "Container", name: "dora", class: inMemory},
		append(docker, "--name=dora", "--tmpfs=/tmp", "localhost/shop:test")...)
	told.run(run{what: "docker, in a service of compose", kind: "Container", name: "shop-till", container: "shop-till-1", class: layer},
		append(docker, "--name=shop-till-1", "--label=com.docker.compose.project=shop", "--label=com.docker.compose.service=till", "localhost/shop:test")...)

	podman := "podman run --network=none --pull=never --label=tier=front --label=example.com/zone= "
	told.run(run{what: "podman", kind: "Container", name: "paul", class: layer, labels: labels}, strings.Fields(podman+"--name=paul localhost/shop:test")...)
	told.run(run{what: "podman that leaves nothing", kind: "Container", name: "pam", class: layer, labels: labels},
		strings.Fields(podman+"--rm --name=pam localhost/shop:test")...)
	told.run(run{what: "podman with crun, a folder of the host", kind: "Container", name: "pia", class: hostPath, labels: labels},
		strings.Fields("podman --runtime=crun "+strings.TrimPrefix(podman, "podman ")+"--volume=/srv/bind:/tmp --name=pia localhost/shop:test")...)
	if unified { // for the same reason podman needs version 2 without privileges
		asAnn(t, "podman import --quiet --change 'ENTRYPOINT [\"/shop\"]' - localhost/shop:test <"+archive(t, shop)+" >/dev/null")
		told.run(run{what: "podman of a user", kind: "Container", name: "uid-1000:priya", container: "priya", class: layer, labels: labels},
			ssh(podman+"--name=priya localhost/shop:test")...)
	}
	a.stop()
	told.check()
}

// checkUsersCgroups shows why in version 1 a user's units are their manager's: users make no cgroups of any controller's. Their units have some in
// systemd's own hierarchy alone, which the kernel side does not look at (docs/decisions/089-users-units-in-version-1.md).
func checkUsersCgroups(t *testing.T) {
	t.Helper()
	const unit = "where.service"
	cgroups := asAnn(t, "systemd-run --user --quiet --wait --collect --pipe --unit="+unit+" cat /proc/self/cgroup")
	own := false
	for line := range strings.Lines(cgroups) {
		if !strings.Contains(line, unit) {
			continue
		}
		if _, hierarchy, _ := strings.Cut(line, ":"); !strings.HasPrefix(hierarchy, "name=systemd:") {
			t.Errorf("a user's unit has a cgroup that could name it: %s", line)
		}
		own = true
	}
	if !own {
		t.Errorf("a user's unit is in no cgroup of its own:\n%s", cgroups)
	}
}

func needSystemd(t *testing.T) {
	t.Helper()
	if comm, err := os.ReadFile("/proc/1/comm"); err != nil || string(comm) != "systemd\n" {
		t.Fatalf("the first process is no systemd but %q (%v): make test-cgroup2 has a machine for this", comm, err)
	}
}

// transient is a unit that runs once.
func transient(name string, args ...string) []string {
	return append([]string{"systemd-run", "--quiet", "--wait", "--collect", "--unit=" + name}, args...)
}

// shopProgram is where test/cgroup/images left it, alone in what becomes an image.
func shopProgram(t *testing.T) string {
	t.Helper()
	shop, err := filepath.Abs("../../build/cgroup/root/shop")
	if err != nil {
		t.Fatal(err)
	}
	return shop
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// ssh is a command of the user ann, who logs in for it.
func ssh(command string) []string {
	return []string{"ssh", "-q", "-o", "StrictHostKeyChecking=no", "ann@localhost", command}
}

func asAnn(t *testing.T, script string) string {
	t.Helper()
	return command(t, ssh(script)...)
}

// archive is what becomes an image: the shop and a folder to write to.
func archive(t *testing.T, shop string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "shop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(dir, "shop.tar")
	command(t, "tar", "-C", filepath.Dir(shop), "--owner=0", "--group=0", "-cf", tar, ".")
	return tar
}

func importToPodman(t *testing.T, shop string, options ...string) {
	t.Helper()
	command(t, append(append([]string{"podman"}, options...),
		"import", "--quiet", "--change", `ENTRYPOINT ["/shop"]`, archive(t, shop), "localhost/shop:test")...)
}
