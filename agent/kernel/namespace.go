// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Namespace returns the inode number of the namespace of a kind (as in /proc/PID/ns: mnt, net, pid, ...) that a process is in.
// Its error says that the process is gone, or out of reach.
func Namespace(tgid uint32, kind string) (uint32, error) {
	var st unix.Stat_t
	path := fmt.Sprintf("/proc/%d/ns/%s", tgid, kind)
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("find a namespace: %s: %w", path, err)
	}
	return uint32(st.Ino), nil //nolint:gosec // namespaces are numbered with 32 bits (include/linux/ns_common.h)
}
