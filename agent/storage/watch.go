// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// watch knows whether mounts changed without reading them.
type watch struct{ fd int }

// openWatch returns nil where the file cannot be opened.
func openWatch(tgid uint32) *watch {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/mountinfo", tgid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &watch{fd}
}

// changed reports whether mounts changed since it was last asked: the file is readable as an exception then
// (proc_pid_mountinfo(5)). When that cannot be told they may have.
func (w *watch) changed() bool {
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLPRI}} //nolint:gosec // descriptors are small
	n, err := unix.Poll(fds, 0)
	return err != nil || n > 0 && fds[0].Revents&(unix.POLLPRI|unix.POLLERR) != 0
}

func (w *watch) close() error {
	if w == nil {
		return nil
	}
	if err := unix.Close(w.fd); err != nil {
		return fmt.Errorf("close the watch of mounts: %w", err)
	}
	return nil
}
