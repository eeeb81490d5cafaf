// SPDX-License-Identifier: Apache-2.0

// Package hostfs opens files of the host that others may have written, or put there in place of what is expected: a pipe, a device, a link to
// somewhere else, a file without end. Whoever reads them is neither kept waiting nor led away.
package hostfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is a directory below which files are read.
type Dir struct {
	Path string
	// Nothing below it may lead out of it, and every file must be this user's. Nil for what only root can write.
	Owner *uint32
	// No component of a name may be a link: whoever asks has the name from the kernel, which tells none with links in it.
	NoLinks bool
}

// ErrNotPlain is of what is no plain file of its owner on a file system of this machine.
var ErrNotPlain = errors.New("not a plain file of its owner")

// open resolves a name below the directory.
func (d Dir) open(name string, flags uint64) (fd int, err error) {
	dir, err := unix.Open(d.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", d.Path, err)
	}
	defer unix.Close(dir) // O_PATH: nothing is written
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC}
	how.Resolve = unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_IN_ROOT // links are the host's, not the agent's
	if d.Owner != nil {
		how.Resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
	}
	if d.NoLinks {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	if fd, err = unix.Openat2(dir, name, how); err != nil {
		return -1, fmt.Errorf("open %s: %w", filepath.Join(d.Path, name), err)
	}
	return fd, nil
}

// Open opens a plain file for reading. A pipe or device is not waited for.
func (d Dir) Open(name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, st, err
	}
	f := os.NewFile(uintptr(fd), name)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || remote[fs.Type] {
		return nil, st, errors.Join(fmt.Errorf("open %s: %w", filepath.Join(d.Path, name), ErrNotPlain), f.Close())
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, st, errors.Join(fmt.Errorf("look at %s: %w", filepath.Join(d.Path, name), err), f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || (d.Owner != nil && st.Uid != *d.Owner) {
		return nil, st, errors.Join(fmt.Errorf("open %s: %w", filepath.Join(d.Path, name), ErrNotPlain), f.Close())
	}
	return f, st, nil
}

// remote file systems may keep a reader waiting for ever: those of networks, and of programs (FUSE).
var remote = map[int64]bool{
	unix.NFS_SUPER_MAGIC: true, unix.SMB_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true, unix.CIFS_SUPER_MAGIC: true,
	unix.FUSE_SUPER_MAGIC: true, unix.V9FS_MAGIC: true, unix.CEPH_SUPER_MAGIC: true, unix.AFS_SUPER_MAGIC: true,
}

// Read returns the content of a plain file of at most so many bytes.
func (d Dir) Read(name string, most int64) ([]byte, error) {
	f, st, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size > most {
		return nil, fmt.Errorf("read %s: %d bytes are more than %d", filepath.Join(d.Path, name), st.Size, most)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(d.Path, name), err)
	}
	return b, nil
}

// Stat looks at whatever has a name, without opening it.
func (d Dir) Stat(name string) (unix.Statx_t, error) {
	var st unix.Statx_t
	fd, err := d.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd) // O_PATH: nothing is written
	const what = unix.STATX_SIZE | unix.STATX_INO | unix.STATX_NLINK
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, what, &st); err != nil {
		return st, fmt.Errorf("look at %s: %w", filepath.Join(d.Path, name), err)
	}
	return st, nil
}
