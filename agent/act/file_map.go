// SPDX-License-Identifier: Apache-2.0

package act

import (
	"golang.org/x/sys/unix"
)

// fileMapActs change content by storing to memory: no system call tells of it.
func fileMapActs() []*Act {
	return []*Act{{
		Name: "mmap-store", Group: GroupFile,
		Summary: "store to a shared mapping of a file, with no call after it",
		needs:   []need{needSharedMapping},
		run: onPrepared(block, unix.O_RDWR, func(f *file) error {
			return mapped(f, func(m []byte) error {
				copy(m, fill(newByte, small))
				return nil
			})
		}),
	}, {
		Name: "mmap-msync-store", Group: GroupFile,
		Summary: "store to a shared mapping, msync, and store once more",
		needs:   []need{needSharedMapping},
		run: onPrepared(block, unix.O_RDWR, func(f *file) error {
			return mapped(f, func(m []byte) error {
				copy(m, fill(newByte, small))
				if err := unix.Msync(m, unix.MS_SYNC); err != nil {
					return f.failed("msync", err)
				}
				copy(m[small:], fill(newByte, small))
				return nil
			})
		}),
	}, {
		Name: "mmap-store-closed", Group: GroupFile,
		Summary: "store to a shared mapping after its descriptor was closed",
		needs:   []need{needSharedMapping},
		run: func(s *stage) error {
			path, err := s.prepare("file", block, clean)
			if err != nil {
				return err
			}
			f, err := openFile(path, unix.O_RDWR)
			if err != nil {
				return err
			}
			if err := mapped(f, func(m []byte) error {
				if err := f.close(); err != nil {
					return err
				}
				copy(m, fill(newByte, small))
				return nil
			}); err != nil {
				return err
			}
			return s.wrote(path, block)
		},
	}}
}

// mapped maps the first block of a file, has op store to it, and unmaps it.
func mapped(f *file, op func([]byte) error) error {
	m, err := unix.Mmap(f.fd, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return f.failed("mmap", err)
	}
	if err := op(m); err != nil {
		return err
	}
	return f.failed("munmap", unix.Munmap(m))
}
