// SPDX-License-Identifier: Apache-2.0

// Package unit makes workloads for tests, of cgroups.
package unit

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
)

// New makes a cgroup that looks like that of a systemd unit: a workload of its own. It returns the name of the unit, and an open
// descriptor for syscall.SysProcAttr.CgroupFD. It is removed when the test ends, by when its processes must have.
func New(t testing.TB) (name string, fd int) {
	t.Helper()
	root, err := kernel.CgroupMount()
	if err != nil || root == "" {
		t.Fatalf("no cgroup v2 hierarchy is mounted: %v", err)
	}
	dir, err := os.MkdirTemp(root, "spoor-test-*.service")
	if err != nil {
		t.Fatal(err)
	}
	if fd, err = unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Base(dir), fd
}
