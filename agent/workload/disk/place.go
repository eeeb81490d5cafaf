// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is a directory below which files are read.
type place struct {
	dir string
	// Nothing below dir may lead out of it, and every file must be this user's. Nil for what only root can write.
	owner *uint32
}

var errNotPlain = errors.New("not a plain file of its owner")

// open opens a file for reading. A pipe or device is not waited for.
func (p place) open(name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	dir, err := unix.Open(p.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, st, fmt.Errorf("open %s: %w", p.dir, err)
	}
	defer unix.Close(dir)
	how := &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY}
	how.Resolve = unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_IN_ROOT // links are the host's, not the agent's
	if p.owner != nil {
		how.Resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
	}
	fd, err := unix.Openat2(dir, name, how)
	if err != nil {
		return nil, st, fmt.Errorf("open %s: %w", filepath.Join(p.dir, name), err)
	}
	f := os.NewFile(uintptr(fd), name)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || remote[fs.Type] {
		return nil, st, errors.Join(fmt.Errorf("open %s: %w", filepath.Join(p.dir, name), errNotPlain), f.Close())
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, st, errors.Join(fmt.Errorf("look at %s: %w", filepath.Join(p.dir, name), err), f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || (p.owner != nil && st.Uid != *p.owner) {
		return nil, st, errors.Join(fmt.Errorf("open %s: %w", filepath.Join(p.dir, name), errNotPlain), f.Close())
	}
	return f, st, nil
}

// remote file systems may keep a reader waiting for ever: those of networks, and of programs (FUSE).
var remote = map[int64]bool{
	unix.NFS_SUPER_MAGIC: true, unix.SMB_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true, unix.CIFS_SUPER_MAGIC: true,
	unix.FUSE_SUPER_MAGIC: true, unix.V9FS_MAGIC: true, unix.CEPH_SUPER_MAGIC: true, unix.AFS_SUPER_MAGIC: true,
}

// read returns the content of a file of at most maxFile bytes.
func (p place) read(name string) ([]byte, error) {
	f, st, err := p.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size > maxFile {
		return nil, fmt.Errorf("read %s: %d bytes are more than %d", filepath.Join(p.dir, name), st.Size, maxFile)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(p.dir, name), err)
	}
	return b, nil
}

// stamp changes when a file does.
type stamp struct {
	inode uint64
	size  int64
	mtime unix.Timespec
	ctime unix.Timespec
}

func (p place) stamp(name string) (stamp, error) {
	f, st, err := p.open(name)
	if err != nil {
		return stamp{}, err
	}
	defer f.Close()
	return stamp{st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// homeOf finds a user's home directory in the host's /etc/passwd (passwd(5)).
func homeOf(root, uid string) (place, bool) {
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return place{}, false
	}
	b, err := (place{dir: root}).read("etc/passwd")
	if err != nil {
		return place{}, false
	}
	home, ok := homeIn(string(b), uid)
	if !ok {
		return place{}, false
	}
	owner := uint32(n)
	return place{dir: filepath.Join(root, home), owner: &owner}, true
}

func homeIn(passwd, uid string) (string, bool) {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) >= 7 && f[2] == uid && filepath.IsAbs(f[5]) {
			return filepath.Clean(f[5]), true
		}
	}
	return "", false
}
