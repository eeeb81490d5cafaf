// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

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

// How long Watch rests between two readings: a machine on which mounts change all the time is read so often at most.
const watchRest = 20 * time.Millisecond

// Watch remembers the layers of containers as soon as they are mounted, until ctx ends: one may be gone before anybody asks for it. It
// may run beside everything else.
func (r *Resolver) Watch(ctx context.Context) error {
	mounts, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", r.hostProc))
	if err != nil {
		return fmt.Errorf("watch the host's mounts: %w", err)
	}
	defer mounts.Close()
	ended, end, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("watch the host's mounts: %w", err)
	}
	defer ended.Close()
	defer end.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = end.Write([]byte{0}) })
	defer stop()
	fds := []unix.PollFd{
		{Fd: int32(ended.Fd()), Events: unix.POLLIN},   //nolint:gosec // descriptors are small
		{Fd: int32(mounts.Fd()), Events: unix.POLLPRI}, //nolint:gosec // as above
	}
	for ctx.Err() == nil {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch the host's mounts: %w", err)
		}
		if fds[1].Revents == 0 {
			continue
		}
		now, err := r.ReadMounts(r.hostProc)
		if err != nil {
			return err
		}
		r.layers.learn(now)
		if _, err := unix.Poll(fds[:1], int(watchRest.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch the host's mounts: %w", err)
		}
	}
	return nil
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
