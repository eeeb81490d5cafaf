// SPDX-License-Identifier: Apache-2.0

package scene

import (
	"testing"

	"golang.org/x/sys/unix"
)

// BPFFS mounts a BPF file system for the test, for what an agent pins, and returns where.
func BPFFS(t *testing.T) string {
	t.Helper()
	mount := t.TempDir()
	if err := unix.Mount("bpf", mount, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil { // what is pinned goes with it
			t.Errorf("unmount the BPF file system: %v", err)
		}
	})
	return mount
}
