// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"os"
	"os/exec"
	"testing"
)

// Where the files are that this machine serves by NFS, to itself.
const exported = "/srv/exported"

// What a unit and a container write to NFS outlives the machine; what the server's threads write for them is the kernel's.
func TestNFS(t *testing.T) {
	needSystemd(t)
	shop := shopProgram(t)
	told := newRuns(t)
	a := startAgent(t, told.add, "--node", "vm")
	told.untilCovered()
	files := shareFiles(t)
	importToPodman(t, shop)
	told.run(run{what: "a unit", kind: "Unit", name: "far.service", at: files, class: farAway}, transient("far.service", shop)...)
	told.run(run{what: "a container", kind: "Container", name: "finn", class: farAway},
		"podman", "run", "--network=none", "--pull=never", "--name=finn", "--volume="+files+":/tmp", image)
	a.stop()
	told.check()
	served := 0
	for _, f := range told.facts {
		file := fileOf(f.record)
		if path := file.GetPath(); path != exported+"/tmp/blink" && path != exported+"/blink" {
			continue
		}
		if want := (run{kind: "Kernel", name: "kernel"}).whose(); whose(f.in) != want || file.GetStorageClass() != hostFile {
			t.Errorf("what NFS serves was written by %s, want %s: %v", whose(f.in), want, file)
		}
		served++
	}
	if served < 2 {
		t.Errorf("what NFS serves was written in %d events", served)
	}
}

// shareFiles returns where they are mounted.
func shareFiles(t *testing.T) string {
	t.Helper()
	const at = "/mnt/far"
	for _, dir := range []string{exported + "/tmp", at} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("/etc/exports", []byte(exported+" localhost(rw,no_root_squash,fsid=0)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, "systemctl", "start", "nfs-server.service")
	command(t, "mount", "-t", "nfs4", "localhost:/", at)
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", at).Run() })
	return at
}
