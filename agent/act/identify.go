// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FileSystem names the type of the file system that a directory lies on. That of an overlay is followed by the type of the one
// that holds its upper layer, where that can be seen: overlay-xfs.
func FileSystem(dir string) (string, error) {
	f, err := identify(dir)
	if err != nil {
		return "", err
	}
	if f.Upper != nil {
		return f.FSType + "-" + f.Upper.FSType, nil
	}
	return f.FSType, nil
}

// identify says which file a path names; it does not follow a symbolic link at its end.
func identify(path string) (*File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "identify", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	return identifyFD(fd, path)
}

// identifyFD says which file a descriptor stands for; path is how it was reached.
func identifyFD(fd int, path string) (*File, error) {
	f, err := inspect(fd, path)
	if err != nil {
		return nil, fmt.Errorf("identify %s: %w", path, err)
	}
	return f, nil
}

func inspect(fd int, path string) (*File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("fstat: %w", err)
	}
	m, err := mountOf(fd)
	if err != nil {
		return nil, err
	}
	f := &File{
		Path: path, Dev: m.dev, Inode: st.Ino, FSType: m.fsType,
		SizeBefore: st.Size, Size: st.Size, Unlinked: st.Nlink == 0,
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		f.Generation, f.HasGeneration = generation(fd)
	}
	if upper, ok := m.upper(path); ok {
		// Not being there means that nothing was copied up yet, or that the layer lies outside of our mount namespace.
		if u, err := identify(upper); err == nil {
			f.Upper = u
		}
	}
	return f, nil
}

// fsIocGetVersion is _IOR('v', 1, long) of linux/fs.h; in spite of the type the kernel stores an int.
const fsIocGetVersion = 2<<30 | 8<<16 | 'v'<<8 | 1

// generation asks the file system for the inode's generation; it opens the file again, as O_PATH descriptors take no ioctl.
func generation(fd int) (uint32, bool) {
	// Not O_RDONLY alone: an open must not wait, and must not touch the access time.
	again, err := unix.Open(procFD(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer func() { _ = unix.Close(again) }()
	v, err := unix.IoctlGetInt(again, fsIocGetVersion)
	if err != nil {
		return 0, false
	}
	return uint32(v), true
}

// mount is one line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	id           int
	dev          uint32
	root, point  string
	fsType       string
	superOptions string
}

// mountOf finds the mount that a descriptor was opened through.
func mountOf(fd int) (*mount, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return nil, err
	}
	id := -1
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			if id, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return nil, fmt.Errorf("fdinfo: %w", err)
			}
		}
	}
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		if m.id == id {
			return m, nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mountinfo: %w", err)
	}
	// Memory objects (memfd, SysV) live on a mount that nobody sees.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("fstat: %w", err)
	}
	return &mount{id: id, dev: kernelDev(uint64(unix.Major(st.Dev)), uint64(unix.Minor(st.Dev))), fsType: "tmpfs"}, nil
}

// parseMount reads, for example: 36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda rw,errors=continue
func parseMount(line string) (*mount, error) {
	front, back, ok := strings.Cut(line, " - ")
	a, b := strings.Fields(front), strings.Fields(back)
	if !ok || len(a) < 6 || len(b) < 2 {
		return nil, fmt.Errorf("mountinfo: line %q has too few fields", line)
	}
	id, err := strconv.Atoi(a[0])
	if err != nil {
		return nil, fmt.Errorf("mountinfo: line %q: %w", line, err)
	}
	var major, minor uint64
	if _, err := fmt.Sscanf(a[2], "%d:%d", &major, &minor); err != nil {
		return nil, fmt.Errorf("mountinfo: line %q: device: %w", line, err)
	}
	m := &mount{
		id: id, dev: kernelDev(major, minor), root: unescape(a[3]), point: unescape(a[4]), fsType: b[0],
	}
	if len(b) > 2 {
		m.superOptions = b[2]
	}
	return m, nil
}

// kernelDev encodes a device number as the kernel does in memory (MKDEV).
func kernelDev(major, minor uint64) uint32 { return uint32(major<<20 | minor) }

// unescape undoes mountinfo's octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// upper translates a path below an overlay mount to its upper layer.
func (m *mount) upper(path string) (string, bool) {
	if m.fsType != "overlay" {
		return "", false
	}
	rest, err := filepath.Rel(m.point, path)
	if err != nil || rest == ".." || strings.HasPrefix(rest, "../") {
		return "", false
	}
	// A comma or colon inside of the name is escaped once more by overlayfs.
	for option := range splitOptions(m.superOptions) {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			return filepath.Join(unescape(dir), m.root, rest), true
		}
	}
	return "", false
}

// splitOptions yields the comma-separated options; a comma after a backslash belongs to a name.
func splitOptions(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] == ',':
				if !yield(b.String()) {
					return
				}
				b.Reset()
			case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == ':'):
				i++
				b.WriteByte(s[i])
			default:
				b.WriteByte(s[i])
			}
		}
		yield(b.String())
	}
}
