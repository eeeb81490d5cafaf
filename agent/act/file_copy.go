// SPDX-License-Identifier: Apache-2.0

package act

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileCopyActs move content from a descriptor to a file inside of the kernel.
func fileCopyActs() []*Act {
	return []*Act{{
		Name: "sendfile", Group: GroupFile,
		Summary: "copy a file over another by sendfile",
		run: copyFile(func(from, to *file) error {
			n, err := unix.Sendfile(to.fd, from.fd, nil, block)
			return to.all("sendfile", n, block, err)
		}),
	}, {
		Name: "copy-file-range", Group: GroupFile,
		Summary: "copy a file over another by copy_file_range",
		needs:   []need{needCopyFileRange},
		run: copyFile(func(from, to *file) error {
			n, err := unix.CopyFileRange(from.fd, nil, to.fd, nil, block, 0)
			return to.all("copy_file_range", n, block, err)
		}),
	}, {
		Name: "reflink", Group: GroupFile,
		Summary: "make a file share the blocks of another (FICLONE)",
		needs:   []need{needReflink},
		run: copyFile(func(from, to *file) error {
			return to.failed("FICLONE", unix.IoctlFileClone(to.fd, from.fd))
		}),
	}, {
		Name: "splice", Group: GroupFile,
		Summary: "splice 100 bytes from a pipe into a file",
		run:     onPrepared(block, unix.O_WRONLY, spliceInto),
	}}
}

// copyFile prepares two files of one block and has op copy the first over the second.
func copyFile(op func(from, to *file) error) func(*stage) error {
	return func(s *stage) error {
		// The source is prepared last, and stays dirty: whoever copies it must not be taken for its writer.
		path, err := s.prepare("to", block/2, clean)
		if err != nil {
			return err
		}
		source, err := s.prepare("from", block, dirty)
		if err != nil {
			return err
		}
		from, err := openFile(source, unix.O_RDONLY)
		if err != nil {
			return err
		}
		to, err := openFile(path, unix.O_RDWR)
		if err != nil {
			return err
		}
		if err := op(from, to); err != nil {
			return err
		}
		if err := from.close(); err != nil {
			return err
		}
		if err := to.close(); err != nil {
			return err
		}
		if err := s.notWritten(source); err != nil {
			return err
		}
		return s.wrote(path, block/2)
	}
}

func spliceInto(f *file) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if _, err := w.Write(fill(newByte, small)); err != nil {
		return err
	}
	offset := int64(small)
	n, err := unix.Splice(int(r.Fd()), nil, f.fd, &offset, small, 0)
	if err := f.all("splice", int(n), small, err); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	return w.Close()
}
