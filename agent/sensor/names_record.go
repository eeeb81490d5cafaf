// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// The longest handle of the file systems that are watched is btrfs' with 20 bytes.
const maxHandle = 24

// fileHandle is what name_to_handle_at(2) gives for a file, together with its file system. Comparable; the zero value is
// no handle.
type fileHandle struct {
	fsid  uint64
	kind  int32
	size  uint8
	bytes [maxHandle]byte
}

func newFileHandle(fsid uint64, kind int32, b []byte) fileHandle {
	h := fileHandle{fsid: fsid, kind: kind}
	if len(b) > maxHandle {
		return fileHandle{}
	}
	h.size = uint8(copy(h.bytes[:], b)) //nolint:gosec // what fits into bytes
	return h
}

func (h *fileHandle) none() bool { return h.size == 0 }

func (h *fileHandle) system() unix.FileHandle { return unix.NewFileHandle(h.kind, h.bytes[:h.size]) }

// inode reads number and generation out of a handle, as the file systems put them there, so that a file needs not be
// asked and may be gone. Number 0 means that it is a handle of another kind.
func (h *fileHandle) inode(fsType string, dev uint32) Inode {
	b, order := h.bytes[:h.size], binary.NativeEndian
	const (
		inoGen = 0x01 // FILEID_INO32_GEN; tmpfs has its own use for it (shmem_encode_fh)
		xfs64  = 0x81 // FILEID_INO32_GEN | XFS_FILEID_TYPE_64FLAG
		btrfs  = 0x4d // FILEID_BTRFS_WITHOUT_PARENT
	)
	switch {
	case fsType == "tmpfs" && h.kind == inoGen && len(b) == 12:
		return Inode{Dev: dev, Generation: order.Uint32(b), Number: uint64(order.Uint32(b[4:])) | uint64(order.Uint32(b[8:]))<<32}
	case fsType != "tmpfs" && h.kind == inoGen && len(b) == 8:
		return Inode{Dev: dev, Number: uint64(order.Uint32(b)), Generation: order.Uint32(b[4:])}
	case fsType == "xfs" && h.kind == xfs64 && len(b) == 12:
		return Inode{Dev: dev, Number: order.Uint64(b), Generation: order.Uint32(b[8:])}
	case fsType == "btrfs" && h.kind == btrfs && len(b) == 20:
		return Inode{Dev: dev, Number: order.Uint64(b), Generation: order.Uint32(b[16:])}
	default:
		return Inode{Dev: dev}
	}
}

// nameRecord is one event of fanotify(7).
type nameRecord struct {
	mask uint64
	// In the pid namespace of the agent; 0 for a process that is in none that it can see.
	tgid uint32
	// The directory and the name in it, of a rename the old ones. A directory itself is named "."; what has no name, as when
	// the number of links to an inode changes, has no directory either.
	dir  fileHandle
	name string
	// Of a rename.
	newDir  fileHandle
	newName string
	// What the name leads to, where the kernel tells.
	child fileHandle
}

const (
	metadataSize   = 24 // struct fanotify_event_metadata
	infoHeadSize   = 4  // struct fanotify_event_info_header
	infoFidSize    = 12 // with fsid
	handleHeadSize = 8  // struct file_handle
)

// decodeNames calls fn for each event that a read of a fanotify group returned. It trusts no length in it. fn must not
// keep the record.
func decodeNames(b []byte, fn func(*nameRecord)) error {
	order := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < metadataSize {
			return fmt.Errorf("fanotify event of %d bytes: too short", len(b))
		}
		size, head := int(order.Uint32(b)), int(order.Uint16(b[6:]))
		if version := b[4]; version != unix.FANOTIFY_METADATA_VERSION {
			return fmt.Errorf("fanotify event of version %d: only %d is known", version, unix.FANOTIFY_METADATA_VERSION)
		}
		if size < metadataSize || size > len(b) || head < metadataSize || head > size {
			return fmt.Errorf("fanotify event of %d bytes with a head of %d does not fit in %d", size, head, len(b))
		}
		r := nameRecord{mask: order.Uint64(b[8:]), tgid: order.Uint32(b[20:])}
		if err := r.decodeInfo(b[head:size]); err != nil {
			return err
		}
		fn(&r)
		b = b[size:]
	}
	return nil
}

func (r *nameRecord) decodeInfo(b []byte) error {
	order := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < infoHeadSize {
			return fmt.Errorf("fanotify info of %d bytes: too short", len(b))
		}
		kind, size := b[0], int(order.Uint16(b[2:]))
		if size < infoHeadSize || size > len(b) {
			return fmt.Errorf("fanotify info of %d bytes does not fit in %d", size, len(b))
		}
		info := b[:size]
		b = b[size:]
		switch kind {
		case unix.FAN_EVENT_INFO_TYPE_FID, unix.FAN_EVENT_INFO_TYPE_DFID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME,
			unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		default:
			continue // of a later kernel
		}
		if len(info) < infoFidSize+handleHeadSize {
			return fmt.Errorf("fanotify info of kind %d and %d bytes: no file handle", kind, size)
		}
		fsid := order.Uint64(info[infoHeadSize:])
		rest := info[infoFidSize:]
		n, handleKind := order.Uint32(rest), int32(order.Uint32(rest[4:])) //nolint:gosec // the kernel's int
		rest = rest[handleHeadSize:]
		if uint64(n) > uint64(len(rest)) {
			return fmt.Errorf("fanotify info of %d bytes: file handle of %d does not fit", size, n)
		}
		h, name := newFileHandle(fsid, handleKind, rest[:n]), rest[n:]
		if i := bytes.IndexByte(name, 0); i >= 0 { // padding follows
			name = name[:i]
		}
		switch kind {
		case unix.FAN_EVENT_INFO_TYPE_FID:
			r.child = h
		case unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
			r.newDir, r.newName = h, string(name)
		default:
			r.dir, r.name = h, string(name)
		}
	}
	return nil
}
