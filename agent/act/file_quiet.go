// SPDX-License-Identifier: Apache-2.0

package act

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileQuietActs touch a file that another process has just written, and do not write it: taking their process for the
// writer is wrong.
func fileQuietActs() []*Act {
	return []*Act{{
		Name: "quiet-read", Group: GroupFile,
		Summary: "read a file that another process has just written (which updates its access time)",
		run: quiet(func(path string) error {
			f, err := openFile(path, unix.O_RDONLY)
			if err != nil {
				return err
			}
			n, err := unix.Read(f.fd, make([]byte, block))
			if err := f.all("read", n, block, err); err != nil {
				return err
			}
			return f.close()
		}),
	}, {
		Name: "quiet-map", Group: GroupFile,
		Summary: "map a file for writing and only read the memory",
		needs:   []need{needSharedMapping},
		run: quiet(func(path string) error {
			f, err := openFile(path, unix.O_RDWR)
			if err != nil {
				return err
			}
			if err := mapped(f, func(m []byte) error {
				if m[0] != oldByte {
					return f.failed("read mapping", os.ErrInvalid)
				}
				return nil
			}); err != nil {
				return err
			}
			return f.close()
		}),
	}, {
		Name: "quiet-open", Group: GroupFile,
		Summary: "open a file for writing and close it",
		run: quiet(func(path string) error {
			f, err := openFile(path, unix.O_RDWR)
			if err != nil {
				return err
			}
			return f.close()
		}),
	}, {
		Name: "quiet-stat", Group: GroupFile,
		Summary: "stat a file",
		run: quiet(func(path string) error {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				return &os.PathError{Op: "stat", Path: path, Err: err}
			}
			return nil
		}),
	}, {
		Name: "quiet-fsync", Group: GroupFile,
		Summary: "have the kernel put on disk what another process has written",
		run: quiet(func(path string) error {
			f, err := openFile(path, unix.O_RDONLY)
			if err != nil {
				return err
			}
			if err := unix.Fsync(f.fd); err != nil {
				return f.failed("fsync", err)
			}
			return f.close()
		}),
	}}
}

func quiet(op func(path string) error) func(*stage) error {
	return func(s *stage) error {
		path, err := s.prepare("file", block, dirty)
		if err != nil {
			return err
		}
		if err := op(path); err != nil {
			return err
		}
		return s.notWritten(path)
	}
}
