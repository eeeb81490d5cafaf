// SPDX-License-Identifier: Apache-2.0

package act

import (
	"golang.org/x/sys/unix"
)

// fileUringActs use io_uring, which no system call of the operation's own name tells of.
func fileUringActs() []*Act {
	return []*Act{{
		Name: "io-uring-write", Group: GroupFile,
		Summary: "write 100 bytes by io_uring",
		needs:   []need{needUring(0, uringWrite)},
		run:     onPrepared(block, unix.O_WRONLY, uringWriter(0, 0)),
	}, {
		Name: "io-uring-write-worker", Group: GroupFile,
		Summary: "write 100 bytes by a worker thread of io_uring (IOSQE_ASYNC)",
		needs:   []need{needUring(0, uringWrite)},
		run:     onPrepared(block, unix.O_WRONLY, uringWriter(0, uringSQEAsync)),
	}, {
		Name: "io-uring-write-sqpoll", Group: GroupFile,
		Summary: "write 100 bytes by a polling thread of io_uring (IORING_SETUP_SQPOLL)",
		needs:   []need{needUring(uringSetupSQPoll, uringWrite)},
		run:     onPrepared(block, unix.O_WRONLY, uringWriter(uringSetupSQPoll, 0)),
	}, {
		Name: "io-uring-openat", Group: GroupFile,
		Summary: "make a file by io_uring's OPENAT and write 100 bytes by its WRITE",
		needs:   []need{needUring(0, uringOpenat, uringWrite)},
		run: withUring(func(s *stage, r *uring) error {
			f, err := r.open(s.path("file"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
			if err != nil {
				return err
			}
			if err := r.write(f, fill(newByte, small), 0); err != nil {
				return err
			}
			if err := f.close(); err != nil {
				return err
			}
			if err := s.changed(opCreate, f.path); err != nil {
				return err
			}
			return s.wrote(f.path, 0)
		}),
	}, {
		Name: "io-uring-renameat", Group: GroupFile,
		Summary: "rename a file by io_uring",
		needs:   []need{needUring(0, uringRenameat)},
		run: withUring(func(s *stage, r *uring) error {
			return s.rename(r.rename)
		}),
	}, {
		Name: "io-uring-unlinkat", Group: GroupFile,
		Summary: "unlink a file by io_uring",
		needs:   []need{needUring(0, uringUnlinkat)},
		run: withUring(func(s *stage, r *uring) error {
			return s.unlink(r.unlink)
		}),
	}}
}

func uringWriter(setup uint32, flags uint8) func(*file) error {
	return func(f *file) error {
		r, err := newUring(setup)
		if err != nil {
			return err
		}
		defer r.close()
		return r.write(f, fill(newByte, small), flags)
	}
}

func withUring(op func(*stage, *uring) error) func(*stage) error {
	return func(s *stage) error {
		r, err := newUring(0)
		if err != nil {
			return err
		}
		defer r.close()
		return op(s, r)
	}
}
