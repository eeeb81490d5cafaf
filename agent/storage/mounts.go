// SPDX-License-Identifier: Apache-2.0

// Package storage says where a file is: which path a process sees it under, which path the host does, and what happens to
// it when the instance ends.
//
// It judges by the physical side (device and path within the file system, mount tables), never by how a path looks from
// within a container.
package storage

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Mount is one line of mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID uint64
	// major << 20 | minor, as the kernel's s_dev.
	Dev uint32
	// Path within the file system that is mounted.
	Root string
	// Where, in the namespace that the line was read in.
	Point  string
	FSType string
	// The file system can be written to, if not through this mount.
	Writable bool
	// Of an overlay, the paths of its upper directory and of the one that it works in as they were given to mount(2).
	UpperDir, WorkDir string
}

// parseMounts reads the lines of a mountinfo file; lines that it does not understand are left out.
func parseMounts(mountinfo string) []Mount {
	var mounts []Mount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		if !ok {
			continue
		}
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 3 {
			continue
		}
		major, minor, ok := strings.Cut(f[2], ":")
		if !ok {
			continue
		}
		ma, err1 := strconv.ParseUint(major, 10, 12)
		mi, err2 := strconv.ParseUint(minor, 10, 20)
		id, err3 := strconv.ParseUint(f[0], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			continue
		}
		m := Mount{ID: id, Dev: uint32(ma<<20 | mi), Root: unescape(f[3]), Point: unescape(f[4]), FSType: g[0]} //nolint:gosec // 12 and 20 bits
		for option := range strings.SplitSeq(g[2], ",") {
			if option == "rw" {
				m.Writable = true
			}
			if m.FSType != "overlay" {
				continue
			}
			if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
				m.UpperDir = unescape(dir)
			}
			if dir, ok := strings.CutPrefix(option, "workdir="); ok {
				m.WorkDir = unescape(dir)
			}
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescape undoes mangle() of fs/seq_file.c: space, tab, newline and backslash stand as three octal digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// readTable reads at most so many bytes of a process's mount table, in whole lines: those that were mounted first.
func readTable(tgid uint32, most int64) (string, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", tgid))
	if err != nil {
		return "", fmt.Errorf("read the mounts of process %d: %w", tgid, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "", fmt.Errorf("read the mounts of process %d: %w", tgid, err)
	}
	return string(b[:bytes.LastIndexByte(b, '\n')+1]), nil
}

// below returns path relative to dir (with a leading slash, or "" for dir itself), if path is dir or below it.
func below(path, dir string) (string, bool) {
	if dir == "/" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, dir)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return rest, true
}

// join puts a relative path as below returns it under a mount point.
func join(point, rest string) string {
	if point == "/" {
		if rest == "" {
			return "/"
		}
		return rest
	}
	if rest == "/" {
		return point
	}
	return point + rest
}

// find returns the mount of dev that shows path, and the path as seen there. The latest line wins among equals: it is
// mounted over the others; a narrower root wins over a wider one.
func find(mounts []Mount, dev uint32, path string) (Mount, string, bool) {
	var best Mount
	var seen string
	found := false
	for _, m := range mounts {
		if m.Dev != dev {
			continue
		}
		rest, ok := below(path, m.Root)
		if !ok || (found && len(m.Root) < len(best.Root)) {
			continue
		}
		best, seen, found = m, join(m.Point, rest), true
	}
	return best, seen, found
}
