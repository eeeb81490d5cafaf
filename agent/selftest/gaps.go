// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spoor/spoor/agent"
)

// gap is an act that is not seen, or not seen whole. The list is what docs/coverage.md explains its holes by: an act that
// is in it and is seen all the same fails as one that is missed and is not.
type gap struct {
	// acts are names; one that ends with * stands for all that begin so.
	acts []string
	// fs are the file systems; empty means all.
	fs []string
	// base, when set, names the sensor whose base tier alone has the gap.
	base string
	// before, when set, is the first kernel without the gap.
	before string
	why    string
	// wrongly: more is told than happened, which the list forgives, too.
	wrongly bool
	// sometimes: it depends on the clock or on who is quicker, so being seen is no surprise.
	sometimes bool
}

func gaps() []gap {
	return []gap{
		{
			acts: []string{"name-deleted"}, sometimes: true,
			why: "the size of a file that has no name left is known as of the last announced change, which may be before the last write",
		},
		{
			acts: []string{"tcp4-preforked"},
			why:  "an accepted connection belongs to whoever listens: a worker that accepts on an inherited listener is told as its parent",
		},
		{
			acts: []string{"udp4-*", "udp6-*"},
			why: "the kernel keeps no counters of bytes for UDP; a connected socket is told only when an answer came and it lived until the next look, " +
				"or when it asked for its peer's address",
		},
		{
			acts: []string{"overwrite-dirty"}, fs: []string{"xfs", "btrfs", "overlay-xfs"}, base: "file",
			why: "xfs and btrfs mark an inode dirty when its first page becomes so: whoever changes a page that another has made dirty is not told " +
				"until that is on disk",
		},
		{
			acts: []string{"overwrite-dirty"}, fs: []string{"xfs", "btrfs", "overlay-xfs"}, before: "5.11",
			why: "xfs and btrfs are modules, and kernels before 5.11 tell no types of those, without which programs cannot be attached to their functions",
		},
		{
			acts: []string{"overwrite-dirty"}, fs: []string{"xfs", "overlay-xfs"}, sometimes: true,
			why: "xfs moves the time of a file once in a clock tick (1 to 10 ms): who changes a page that another has made dirty in that tick is not told",
		},
		{
			acts: []string{"direct", "aio-direct"}, fs: []string{"btrfs"}, base: "file", before: "6.12",
			why: "btrfs did not mark the inode dirty for O_DIRECT; it does in 6.12",
		},
		{
			acts: []string{"direct", "aio-direct"}, fs: []string{"xfs", "overlay-xfs"}, base: "file",
			why: "xfs changes sizes and times in transactions of its own, which do not mark the inode dirty unless a page becomes so: not O_DIRECT",
		},
		{
			acts: []string{"copy-file-range", "reflink", "fallocate", "punch-hole"}, fs: []string{"xfs", "btrfs", "overlay-xfs"}, base: "file",
			why: "xfs and btrfs change blocks and sizes in transactions of their own, which do not mark the inode dirty unless a page becomes so: not " +
				"reflinks (copy_file_range makes them there) and fallocate",
		},
		{
			acts: []string{"truncate"}, fs: []string{"btrfs"}, base: "file",
			why: "btrfs cuts a file in a transaction of its own, which does not mark the inode dirty",
		},
		{
			acts: []string{"quiet-fsync"}, fs: []string{"ext4", "overlay-ext4"}, sometimes: true, wrongly: true,
			why: "ext4 changes the inode when it puts new pages on disk: who has that done (fsync) within 50 ms of the write is told as a writer, too",
		},
		{
			acts: []string{"cp", "rsync"}, fs: []string{"xfs", "btrfs", "overlay-xfs"}, base: "file", sometimes: true,
			why: "a program that copies by reflink changes a file in a way that does not mark the inode dirty",
		},
		{
			acts: []string{"name-long"}, fs: []string{"btrfs"}, sometimes: true,
			why: "btrfs announces a write before it carries it out, and a file whose path is as long as a path can be cannot be asked for its size " +
				"afterwards",
		},
		{
			acts: []string{"name-long"}, fs: []string{"overlay-ext4", "overlay-xfs"}, sometimes: true,
			why: "in the upper layer of the overlay the path is longer than a path can be: neither can the file be asked for its size, nor can the act " +
				"tell which inode it has there",
		},
		{acts: []string{"raw4-*"}, why: "of raw sockets only that they are open is told, at the next look"},
		{acts: []string{"sctp4"}, why: "of SCTP only listeners are told, not associations"},
		{
			acts: []string{"bind-write"}, sometimes: true,
			why: "a mount namespace that ends with its only process before it was looked at shows files under the host's path",
		},
		{
			acts: []string{
				"rename", "rename-exchange", "rename-directory", "link", "symlink", "unlink", "mkdir", "rmdir", "mkfifo", "mknod", "chmod", "chown",
				"setxattr", "utimes", "io-uring-renameat", "io-uring-unlinkat",
			},
			fs: []string{"tmpfs"}, base: "names", before: "5.13",
			why: "before 5.13 tmpfs gives no id by which fanotify could name its files",
		},
		{
			acts: []string{"truncate", "ftruncate-extend", "punch-hole", "fallocate"}, fs: []string{"tmpfs"}, base: "file", sometimes: true,
			why: "tmpfs does not announce changes of size",
		},
		{
			acts: []string{
				"create", "io-uring-openat", "overwrite*", "mmap-*", "append", "pwritev2", "rename-over", "tmpfile-linkat", "name-*", "sendfile",
				"copy-file-range", "splice", "aio*", "io-uring-write*", "writer-*", "cp", "rsync", "sed", "sqlite-commit", "log-rotation", "exec-written", "unshare-write",
			},
			fs: []string{"tmpfs"}, sometimes: true,
			why: "tmpfs announces a write by moving its time: one in the same clock tick (4 ms) as the change before it is not announced; the creation is seen",
		},
	}
}

// gap returns why an act is not seen on a file system, if that is known.
func (n *node) gap(name, fs string) (gap, bool) {
	for _, g := range gaps() {
		if len(g.fs) > 0 && !contains(g.fs, fs) || g.base != "" && n.sensor(g.base).Tier != agent.TierBase {
			continue
		}
		if g.before != "" && !older(n.release, g.before) {
			continue
		}
		if contains(g.acts, name) {
			return g, true
		}
	}
	return gap{}, false
}

func contains(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, ok := strings.CutSuffix(p, "*")
		return p == name || ok && strings.HasPrefix(name, prefix)
	})
}

// older says whether a kernel's release is before a version like 5.11.
func older(release, version string) bool {
	var a, b, x, y int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	if n, _ := fmt.Sscanf(version, "%d.%d", &x, &y); n != 2 {
		return false
	}
	return a < x || a == x && b < y
}
