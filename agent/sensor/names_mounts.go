// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is a file system that is mounted somewhere, as mountinfo tells it.
type Mount struct {
	ID uint64
	// major << 20 | minor, as the kernel's s_dev.
	Dev uint32
	// Path within the file system that is mounted, and where.
	Root, Point string
	FSType      string
	// The file system can be written to, if not through this mount.
	Writable bool
	// Of an overlay, the directory that it uses for itself, as it was given to mount(2).
	WorkDir string
}

// watchedTypes are the file systems that are local, that programs keep files on, and whose handles are understood.
var watchedTypes = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "tmpfs": true,
}

// fileSystem is one that is watched.
type fileSystem struct {
	dev    uint32
	fsType string
	fsid   uint64
	// Where it can be entered, the widest view first.
	views []view
	// While a batch of events is looked at: a descriptor of the mount point of through, and else -1. It is not kept, or the
	// file system could not be unmounted.
	fd      int
	through view
	// Counts renames of directories: what was known of paths before is not true any more.
	version uint32
}

// view is a mount as a namespace has it.
type view struct {
	Mount
	// Inode number of the mount namespace; 0 for the host's.
	ns uint32
}

// look finds the file systems that the host can see and watches the new ones.
func (n *Names) look() error {
	mounts, err := n.o.Mounts(n.o.HostTgid)
	if err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	marked, err := n.marked()
	if err != nil {
		return err
	}
	for fsid, fs := range n.systems {
		fs.views = slices.DeleteFunc(fs.views, func(v view) bool { return v.ns == 0 })
		if !marked[fs.dev] {
			delete(n.systems, fsid) // it was unmounted; whatever has its number now is another
		}
	}
	clear(n.unwatched)
	n.watch(mounts, 0, marked)
	n.findWorkDirs(mounts)
	return nil
}

// Enter makes known a mount namespace other than the host's, with a process that is in it: file systems that are mounted
// nowhere else are watched, too. Of a namespace that is known it remembers the process.
func (n *Names) Enter(mntNS, tgid uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if mntNS == n.o.HostNS || mntNS == 0 {
		return
	}
	if _, known := n.inside.Get(mntNS); known {
		n.inside.Add(mntNS, tgid)
		return
	}
	mounts, err := n.o.Mounts(tgid)
	if err != nil { // it has ended: somebody else will come in, or the namespace is gone
		return
	}
	marked, err := n.marked()
	if err != nil {
		n.err = err
		return
	}
	n.inside.Add(mntNS, tgid)
	n.watch(mounts, mntNS, marked)
}

// watch marks what is not marked yet of the file systems in a mount table.
func (n *Names) watch(mounts []Mount, ns uint32, marked map[uint32]bool) {
	views := map[uint32][]view{}
	for _, m := range mounts {
		if m.Writable && watchedTypes[m.FSType] {
			views[m.Dev] = append(views[m.Dev], view{m, ns})
		}
	}
	for dev, list := range views {
		slices.SortStableFunc(list, func(a, b view) int { return cmp.Compare(len(a.Root), len(b.Root)) })
		if fs := n.system(dev); fs != nil && marked[dev] {
			if ns == 0 {
				fs.views = append(list, fs.views...)
			} else if len(fs.views) == 0 || fs.views[0].ns != 0 {
				fs.views = append(fs.views, list...)
			}
			continue
		}
		if err := n.mark(&fileSystem{dev: dev, fsType: list[0].FSType, views: list, fd: -1}); err != nil {
			n.unwatched[dev] = fmt.Sprintf("%s at %s: %v", list[0].FSType, list[0].Point, err)
		}
	}
}

func (n *Names) system(dev uint32) *fileSystem {
	for _, fs := range n.systems {
		if fs.dev == dev {
			return fs
		}
	}
	return nil
}

var (
	errHidden    = errors.New("another mount covers it")
	errDenied    = errors.New("marks on file systems take CAP_SYS_ADMIN")
	errSameID    = errors.New("it has the id (f_fsid) of another file system: a copy?")
	errNoID      = errors.New("the kernel gives no id of it (tmpfs before 5.13)")
	errSubvolume = errors.New("it is a subvolume, and the top of the file system is not mounted")
)

// mark begins to watch a file system.
func (n *Names) mark(fs *fileSystem) error {
	if err := n.open(fs); err != nil {
		return err
	}
	defer fs.close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(fs.fd, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	fs.fsid = fsidOf(&st)
	if n.systems[fs.fsid] != nil {
		return errSameID
	}
	err := unix.FanotifyMark(n.fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, n.mask, fs.fd, "")
	switch {
	case errors.Is(err, unix.EPERM):
		n.denied = true
		return errDenied
	case errors.Is(err, unix.ENODEV):
		return errNoID
	case errors.Is(err, unix.EXDEV):
		return errSubvolume
	case err != nil:
		return fmt.Errorf("fanotify_mark: %w", err)
	}
	n.systems[fs.fsid] = fs
	return nil
}

func fsidOf(st *unix.Statfs_t) uint64 {
	b := make([]byte, 0, 8)
	for _, v := range st.Fsid.Val {
		b = binary.NativeEndian.AppendUint32(b, uint32(v)) //nolint:gosec // the kernel's ints are bits
	}
	return binary.NativeEndian.Uint64(b)
}

// open enters a file system by the first view that leads to it, until close.
func (n *Names) open(fs *fileSystem) error {
	if fs.fd >= 0 {
		return nil
	}
	err := errHidden
	for _, v := range fs.views {
		root := n.root(v.ns)
		if root == "" {
			continue
		}
		fd, e := unix.Open(root+v.Point, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if e != nil {
			err = fmt.Errorf("open %s%s: %w", root, v.Point, e)
			continue
		}
		if mountID(fd) == v.ID {
			fs.fd, fs.through = fd, v
			return nil
		}
		_ = unix.Close(fd)
	}
	return err
}

func (fs *fileSystem) close() {
	if fs.fd >= 0 {
		_ = unix.Close(fs.fd) // a directory, opened for reading
		fs.fd = -1
	}
}

// root is a path to the root directory of a mount namespace; "" when no process is known in it.
func (n *Names) root(ns uint32) string {
	tgid := n.o.HostTgid
	if ns != 0 {
		var ok bool
		if tgid, ok = n.inside.Peek(ns); !ok {
			return ""
		}
	}
	return fmt.Sprintf("/proc/%d/root", tgid)
}

func mountID(fd int) uint64 {
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st) != nil {
		return 0
	}
	return st.Mnt_id
}

// marked returns the devices of the file systems that the kernel watches for this group. A mark ends with its file system.
func (n *Names) marked() (map[uint32]bool, error) {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(n.fd))
	if err != nil {
		return nil, fmt.Errorf("names sensor: read the marks: %w", err)
	}
	return parseMarks(string(b)), nil
}

// parseMarks reads the lines of a fanotify group's fdinfo (fs/notify/fdinfo.c).
func parseMarks(fdinfo string) map[uint32]bool {
	devs := map[uint32]bool{}
	for line := range strings.Lines(fdinfo) {
		rest, ok := strings.CutPrefix(line, "fanotify sdev:")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if dev, err := strconv.ParseUint(number, 16, 32); err == nil {
			devs[uint32(dev)] = true
		}
	}
	return devs
}

// findWorkDirs learns where overlays put together what they then move into their upper directory.
func (n *Names) findWorkDirs(mounts []Mount) {
	known := n.workDirs
	n.workDirs = map[string]fileHandle{}
	for _, m := range mounts {
		if m.WorkDir == "" {
			continue
		}
		h, ok := known[m.WorkDir]
		if !ok {
			// The overlay makes a directory of this name in the one that it was given (ovl_workdir_create).
			h = n.handleAt(unix.AT_FDCWD, n.root(0)+filepath.Join("/", m.WorkDir, "work"))
		}
		n.workDirs[m.WorkDir] = h
	}
	clear(n.works)
	for _, h := range n.workDirs {
		if !h.none() {
			n.works[h] = true
		}
	}
}

// handleAt returns the handle of what a path leads to, without following a link at its end; none when there is nothing.
func (n *Names) handleAt(dirfd int, path string) fileHandle {
	var st unix.Statfs_t
	fd, err := unix.Openat(dirfd, path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fileHandle{}
	}
	defer unix.Close(fd) // O_PATH: nothing is written
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil || unix.Fstatfs(fd, &st) != nil {
		return fileHandle{}
	}
	return newFileHandle(fsidOf(&st), h.Type(), h.Bytes())
}
