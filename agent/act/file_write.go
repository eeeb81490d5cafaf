// SPDX-License-Identifier: Apache-2.0

package act

import (
	"golang.org/x/sys/unix"
)

// fileWriteActs change content by the plain system calls.
func fileWriteActs() []*Act {
	return []*Act{{
		Name: "create", Group: GroupFile,
		Summary: "make a file and write 100 bytes to it at once",
		run:     create,
	}, {
		Name: "append", Group: GroupFile,
		Summary: "write 100 bytes to the end of a file of another process",
		run: onPrepared(block, unix.O_WRONLY|unix.O_APPEND, func(f *file) error {
			return f.write(fill(newByte, small))
		}),
	}, {
		Name: "overwrite", Group: GroupFile,
		Summary: "write 100 bytes over the beginning of a file that is on disk",
		run: onPrepared(block, unix.O_WRONLY, func(f *file) error {
			return f.pwrite(fill(newByte, small), 0)
		}),
	}, {
		Name: "overwrite-dirty", Group: GroupFile,
		Summary: "write 100 bytes over a page that another process has just written",
		run: func(s *stage) error {
			return s.writePrepared(block, dirty, unix.O_WRONLY, func(f *file) error {
				return f.pwrite(fill(newByte, small), 0)
			})
		},
	}, {
		Name: "overwrite-truncating", Group: GroupFile,
		Summary: "open a file with O_TRUNC and write 100 bytes, as a shell's > does",
		run: onPrepared(block, unix.O_WRONLY|unix.O_TRUNC, func(f *file) error {
			return f.write(fill(newByte, small))
		}),
	}, {
		Name: "pwritev2", Group: GroupFile,
		Summary: "write two buffers at an offset by pwritev2 with RWF_DSYNC",
		run: onPrepared(block, unix.O_WRONLY, func(f *file) error {
			half := fill(newByte, small/2)
			n, err := unix.Pwritev2(f.fd, [][]byte{half, half}, small, unix.RWF_DSYNC)
			return f.all("pwritev2", n, small, err)
		}),
	}, {
		Name: "direct", Group: GroupFile,
		Summary: "write a block past the page cache, with O_DIRECT",
		needs:   []need{needDirect},
		run: onPrepared(2*block, unix.O_WRONLY|unix.O_DIRECT, func(f *file) error {
			// A mapping is aligned as O_DIRECT demands.
			b, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				return f.failed("mmap", err)
			}
			copy(b, fill(newByte, block))
			if err := f.pwrite(b, block); err != nil {
				return err
			}
			return f.failed("munmap", unix.Munmap(b))
		}),
	}}
}

func create(s *stage) error {
	f, err := openFile(s.path("file"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	if err != nil {
		return err
	}
	if err := f.write(fill(newByte, small)); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	if err := s.changed(opCreate, f.path); err != nil {
		return err
	}
	return s.wrote(f.path, 0)
}
