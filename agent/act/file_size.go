// SPDX-License-Identifier: Apache-2.0

package act

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileSizeActs change the size or the holes of a file.
func fileSizeActs() []*Act {
	return []*Act{{
		Name: "truncate", Group: GroupFile,
		Summary: "cut a file to 100 bytes by its path",
		run: func(s *stage) error {
			path, err := s.prepare("file", block, clean)
			if err != nil {
				return err
			}
			if err := unix.Truncate(path, small); err != nil {
				return &os.PathError{Op: "truncate", Path: path, Err: err}
			}
			return s.wrote(path, block)
		},
	}, {
		Name: "ftruncate-extend", Group: GroupFile,
		Summary: "make an open file longer by ftruncate",
		run: onPrepared(small, unix.O_WRONLY, func(f *file) error {
			return f.failed("ftruncate", unix.Ftruncate(f.fd, 2*block))
		}),
	}, {
		Name: "fallocate", Group: GroupFile,
		Summary: "allocate blocks past the end of a file",
		needs:   []need{needFallocate},
		run: onPrepared(block, unix.O_WRONLY, func(f *file) error {
			return f.failed("fallocate", fallocate(f.fd, 0, 0, 4*block))
		}),
	}, {
		Name: "punch-hole", Group: GroupFile,
		Summary: "turn a block of a file into a hole",
		needs:   []need{needPunchHole},
		run: onPrepared(4*block, unix.O_WRONLY, func(f *file) error {
			return f.failed("fallocate", fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, block, 2*block))
		}),
	}}
}
