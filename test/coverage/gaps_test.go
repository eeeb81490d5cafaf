// SPDX-License-Identifier: Apache-2.0

package coverage

import "strings"

// gap is an act that the base tier does not see, or does not see whole.
type gap struct {
	// acts are names; one that ends with * stands for all that begin so.
	acts []string
	// fs are the file systems; empty means all.
	fs  []string
	why string
	// sometimes: it depends on the clock or on who is quicker, so being seen is no surprise.
	sometimes bool
}

var gaps = []gap{
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
	{acts: []string{"unix-*"}, why: "Unix sockets are not looked at"},
	{
		acts: []string{"bind-write"}, sometimes: true,
		why: "a mount namespace that ends with its only process before it was looked at shows files under the host's path",
	},
	{
		acts: []string{"truncate", "ftruncate-extend", "punch-hole", "fallocate"}, fs: []string{"tmpfs"}, sometimes: true,
		why: "tmpfs does not announce changes of size",
	},
	{
		acts: []string{
			"create", "io-uring-openat", "overwrite*", "mmap-*", "append", "pwritev2", "rename-over", "tmpfile-linkat", "name-*", "sendfile",
			"copy-file-range", "splice", "aio*", "io-uring-write*", "writer-*", "exec-written", "unshare-write",
		},
		fs: []string{"tmpfs"}, sometimes: true,
		why: "tmpfs announces a write by moving its time: one in the same clock tick (4 ms) as the change before it is not announced; the creation is seen",
	},
}

// knownGap returns why an act is not seen on a file system, if that is known.
func knownGap(name, fs string) (gap, bool) {
	for _, g := range gaps {
		if len(g.fs) > 0 && !contains(g.fs, fs) {
			continue
		}
		if contains(g.acts, name) {
			return g, true
		}
	}
	return gap{}, false
}

func contains(patterns []string, name string) bool {
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "*"); p == name || (ok && strings.HasPrefix(name, prefix)) {
			return true
		}
	}
	return false
}
