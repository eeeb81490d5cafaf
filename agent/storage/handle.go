// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is what a file system says of an inode that its old name no longer leads to.
type Found struct {
	// Path as the host sees it; "" when no name is left.
	HostPath string
	// Path within the file system.
	Path string
	// Bytes.
	Size  uint64
	Links uint32
	// It is a regular file.
	Regular bool
}

// Find asks the file system dev for an inode by number, as an NFS server would (open_by_handle_at(2), which needs
// CAP_DAC_READ_SEARCH): a file that was renamed, or got its name late, is found under the name that it has now. It opens
// nothing but the path (O_PATH), so devices, FIFOs and slow readers are safe.
func (r *Resolver) Find(dev uint32, inode uint64, generation uint32) (Found, bool) {
	var on *Mount
	for _, m := range r.mounts(r.hostNS, r.hostProc) {
		if m.Dev == dev && m.Root == "/" {
			on = &m
			break
		}
	}
	if on == nil {
		return Found{}, false
	}
	handle, ok := handleOf(on.FSType, inode, generation)
	if !ok {
		return Found{}, false
	}
	mount, err := unix.Open(r.root+on.Point, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Found{}, false
	}
	defer unix.Close(mount) // a directory: nothing is written
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return Found{}, false
	}
	defer unix.Close(fd) // O_PATH: nothing is written
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Ino != inode {
		return Found{}, false
	}
	f := Found{Size: uint64(st.Size), Links: uint32(st.Nlink), Regular: st.Mode&unix.S_IFMT == unix.S_IFREG} //nolint:gosec // sizes and links are not negative
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil || f.Links == 0 || strings.HasSuffix(name, " (deleted)") {
		return f, true
	}
	if rest, ok := below(name, on.Point); ok {
		f.HostPath, f.Path = name, join("/", rest)
	}
	return f, true
}

// handleOf makes the handle that a file system would give out for the inode, of those whose handles are made of number and
// generation (FILEID_INO32_GEN, enum fid_type). tmpfs has its own order, and finds only what it gave out a
// handle of before (shmem_encode_fh), as it does for each event of the names sensor.
func handleOf(fsType string, inode uint64, generation uint32) (unix.FileHandle, bool) {
	const inodeAndGeneration = 1
	low, high := uint32(inode&(1<<32-1)), uint32(inode>>32)
	var words []uint32
	switch fsType {
	case "ext2", "ext3", "ext4", "xfs", "f2fs":
		if high != 0 {
			return unix.FileHandle{}, false
		}
		words = []uint32{low, generation}
	case "tmpfs":
		words = []uint32{generation, low, high}
	default:
		return unix.FileHandle{}, false
	}
	var b []byte
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return unix.NewFileHandle(inodeAndGeneration, b), true
}
