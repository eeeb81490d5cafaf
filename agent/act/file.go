// SPDX-License-Identifier: Apache-2.0

package act

import (
	"errors"
	"fmt"
	"os"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

const (
	opCreate     = spoorv1.FileChange_OPERATION_CREATE
	opRename     = spoorv1.FileChange_OPERATION_RENAME
	opLink       = spoorv1.FileChange_OPERATION_LINK
	opUnlink     = spoorv1.FileChange_OPERATION_UNLINK
	opAttributes = spoorv1.FileChange_OPERATION_ATTRIBUTES
)

const (
	// small is the number of bytes of a small write.
	small = 100
	// block is a size that every file system deals in, and the alignment of O_DIRECT.
	block = 4096
)

// file is a file that an act has open. Its methods' errors name it.
type file struct {
	fd   int
	path string
}

func openFile(path string, flags int) (*file, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &file{fd, path}, nil
}

// uninterrupted makes a system call again that a signal ended, as the Go runtime sends itself: after a handler some go on by themselves,
// and some never do (signal(7)).
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fallocate allocates blocks of a file, or makes a hole.
func fallocate(fd int, mode uint32, offset, length int64) error {
	return uninterrupted(func() error { return unix.Fallocate(fd, mode, offset, length) })
}

func (f *file) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.path, Err: err}
}

func (f *file) write(b []byte) error { return f.failed("write", writeAll(f.fd, b)) }
func (f *file) close() error         { return f.failed("close", unix.Close(f.fd)) }

func (f *file) pwrite(b []byte, offset int64) error {
	n, err := unix.Pwrite(f.fd, b, offset)
	return f.all("pwrite", n, len(b), err)
}

// all checks that an operation moved as many bytes as it should.
func (f *file) all(op string, n, want int, err error) error {
	if err == nil && n != want {
		err = fmt.Errorf("%d bytes instead of %d", n, want)
	}
	return f.failed(op, err)
}

// wrote says that this process changed the content of a file that had a size before.
func (s *stage) wrote(path string, before int64) error { return s.wroteFile(path, before, false) }

// wroteRenamed says that this process wrote a file under another name in the same directory.
func (s *stage) wroteRenamed(path string) error { return s.wroteFile(path, 0, true) }

func (s *stage) wroteFile(path string, before int64, renamed bool) error {
	f, err := identify(path)
	if err != nil {
		return err
	}
	f.SizeBefore, f.Renamed = before, renamed
	s.expect(Expectation{Kind: FileWrite, File: f})
	return nil
}

// notWritten says that this process did not change the content of a file.
func (s *stage) notWritten(path string) error {
	f, err := identify(path)
	if err != nil {
		return err
	}
	s.forbid(Expectation{Kind: FileWrite, File: f})
	return nil
}

// changed says that this process did something to the name or the attributes of the file that path names now.
func (s *stage) changed(op spoorv1.FileChange_Operation, path string) error {
	f, err := identify(path)
	if err != nil {
		return err
	}
	s.expect(Expectation{Kind: FileChange, Operation: op, File: f})
	return nil
}

// onPrepared opens a clean file of n bytes, has op change it, closes it and says that it was written.
func onPrepared(n, flags int, op func(*file) error) func(*stage) error {
	return func(s *stage) error { return s.writePrepared(n, clean, flags, op) }
}

func (s *stage) writePrepared(n int, state prepared, flags int, op func(*file) error) error {
	path, err := s.prepare("file", n, state)
	if err != nil {
		return err
	}
	f, err := openFile(path, flags)
	if err != nil {
		return err
	}
	if err := op(f); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	return s.wrote(path, int64(n))
}
