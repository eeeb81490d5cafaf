// SPDX-License-Identifier: Apache-2.0

package act

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// component is the length of each directory's name in a deep tree: the longest that file systems have.
	component = 250
	// pathMax is the longest path that a system call takes, without the NUL.
	pathMax = 4095
)

// fileOddNameActs write to files whose names are hard to tell.
func fileOddNameActs() []*Act {
	return []*Act{{
		Name: "name-newline", Group: GroupFile,
		Summary: "write a file whose name has spaces, quotes and a newline",
		run:     writeNamed(" a\n\"b'\t\\ "),
	}, {
		Name: "name-bytes", Group: GroupFile,
		Summary: "write a file whose name is not UTF-8",
		run:     writeNamed("\xff\xfe-\xc3(-caf\xe9"),
	}, {
		Name: "name-long", Group: GroupFile,
		Summary: "write a file whose path is as long as a path can be",
		run:     writeDeep,
	}, {
		Name: "name-renamed", Group: GroupFile,
		Summary: "write to a file that was renamed while it was open",
		run:     writeRenamed,
	}, {
		Name: "name-deleted", Group: GroupFile,
		Summary: "write to a file that was deleted while it was open",
		run:     writeDeleted,
	}}
}

func writeNamed(name string) func(*stage) error {
	return func(s *stage) error { return s.writeNew(s.path(name)) }
}

func (s *stage) writeNew(path string) error {
	f, err := openFile(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	if err != nil {
		return err
	}
	if err := f.write(fill(newByte, small)); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	return s.wrote(path, 0)
}

func writeDeep(s *stage) error {
	path := s.dir
	for {
		// Room must be left for the name of the file: a separator and one byte.
		rest := pathMax - len(path) - 1
		if rest <= component {
			return s.writeNew(filepath.Join(path, strings.Repeat("f", rest)))
		}
		path = filepath.Join(path, strings.Repeat("d", min(component, rest-2)))
		if err := unix.Mkdir(path, 0o755); err != nil {
			return &os.PathError{Op: "mkdir", Path: path, Err: err}
		}
	}
}

func writeRenamed(s *stage) error {
	path, err := s.prepare("old", block, clean)
	if err != nil {
		return err
	}
	f, err := openFile(path, unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		return err
	}
	target := s.path("new")
	if err := unix.Rename(path, target); err != nil {
		return &os.LinkError{Op: "rename", Old: path, New: target, Err: err}
	}
	if err := f.write(fill(newByte, small)); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	if err := s.moved(Expectation{Operation: opRename}, path, target); err != nil {
		return err
	}
	return s.wrote(target, block)
}

func writeDeleted(s *stage) error {
	path, err := s.prepare("file", block, clean)
	if err != nil {
		return err
	}
	f, err := openFile(path, unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		return err
	}
	// On an overlay only a file with a name can be followed to the upper layer.
	deleted, err := identify(path)
	if err != nil {
		return err
	}
	if err := s.remove(path, unix.Unlink); err != nil {
		return err
	}
	if err := f.write(fill(newByte, small)); err != nil {
		return err
	}
	deleted.Size, deleted.Unlinked = block+small, true
	s.expect(Expectation{Kind: FileWrite, File: deleted})
	s.cleanup(f.close)
	return nil
}
