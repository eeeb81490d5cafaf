// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileNameActs change directories: names come, go and move while the content stays.
func fileNameActs() []*Act {
	return []*Act{{
		Name: "rename", Group: GroupFile,
		Summary: "give a file of another process a new name",
		run: func(s *stage) error {
			return s.rename(unix.Rename)
		},
	}, {
		Name: "rename-over", Group: GroupFile,
		Summary: "write a file and rename it over an existing one, as editors do",
		run:     renameOver,
	}, {
		Name: "rename-exchange", Group: GroupFile,
		Summary: "exchange the names of two files (RENAME_EXCHANGE)",
		needs:   []need{needExchange},
		run:     renameExchange,
	}, {
		Name: "rename-directory", Group: GroupFile,
		Summary: "rename the directory in which a file lies",
		run:     renameDirectory,
	}, {
		Name: "tmpfile-linkat", Group: GroupFile,
		Summary: "write a file without a name (O_TMPFILE) and give it one by linkat",
		needs:   []need{needTmpfile},
		run:     tmpfileLinkat,
	}, {
		Name: "link", Group: GroupFile,
		Summary: "give a file a second name",
		run: func(s *stage) error {
			path, err := s.prepare("file", small, clean)
			if err != nil {
				return err
			}
			target := s.path("second")
			if err := unix.Link(path, target); err != nil {
				return &os.LinkError{Op: "link", Old: path, New: target, Err: err}
			}
			return s.moved(Expectation{Operation: opLink}, path, target)
		},
	}, {
		Name: "symlink", Group: GroupFile,
		Summary: "make a symbolic link",
		run: made(func(path string) error {
			return unix.Symlink("nowhere", path)
		}),
	}, {
		Name: "unlink", Group: GroupFile,
		Summary: "remove a file of another process",
		run:     func(s *stage) error { return s.unlink(unix.Unlink) },
	}, {
		Name: "mkdir", Group: GroupFile,
		Summary: "make a directory",
		run:     made(func(path string) error { return unix.Mkdir(path, 0o755) }),
	}, {
		Name: "rmdir", Group: GroupFile,
		Summary: "make a directory and remove it",
		run: func(s *stage) error {
			path := s.path("made")
			if err := unix.Mkdir(path, 0o755); err != nil {
				return &os.PathError{Op: "mkdir", Path: path, Err: err}
			}
			if err := s.changed(opCreate, path); err != nil {
				return err
			}
			return s.remove(path, unix.Rmdir)
		},
	}, {
		Name: "mkfifo", Group: GroupFile,
		Summary: "make a FIFO",
		run:     made(func(path string) error { return unix.Mkfifo(path, 0o644) }),
	}, {
		Name: "mknod", Group: GroupFile,
		Summary: "make a character device, with the numbers of /dev/null",
		needs:   []need{needCapability("CAP_MKNOD", unix.CAP_MKNOD)},
		run: made(func(path string) error {
			return unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3)))
		}),
	}}
}

// made has op make something at a path.
func made(op func(path string) error) func(*stage) error {
	return func(s *stage) error {
		path := s.path("made")
		if err := op(path); err != nil {
			return &os.PathError{Op: s.act.Name, Path: path, Err: err}
		}
		return s.changed(opCreate, path)
	}
}

// moved says that a file got the name target; it is identified by that.
func (s *stage) moved(e Expectation, path, target string) error {
	f, err := identify(target)
	if err != nil {
		return err
	}
	f.Path = path
	e.Kind, e.File, e.TargetPath = FileChange, f, target
	s.expect(e)
	return nil
}

func (s *stage) rename(op func(from, to string) error) error {
	path, err := s.prepare("old", small, clean)
	if err != nil {
		return err
	}
	target := s.path("new")
	if err := op(path, target); err != nil {
		return &os.LinkError{Op: "rename", Old: path, New: target, Err: err}
	}
	if err := s.notWritten(target); err != nil {
		return err
	}
	return s.moved(Expectation{Operation: opRename}, path, target)
}

func (s *stage) unlink(op func(string) error) error {
	path, err := s.prepare("file", small, clean)
	if err != nil {
		return err
	}
	return s.remove(path, op)
}

// remove removes what path names and says so; afterwards nobody could identify it.
func (s *stage) remove(path string, op func(string) error) error {
	f, err := identify(path)
	if err != nil {
		return err
	}
	if err := op(path); err != nil {
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	f.Unlinked = true
	s.expect(Expectation{Kind: FileChange, Operation: opUnlink, File: f})
	return nil
}

func renameOver(s *stage) error {
	target, err := s.prepare("file", block, clean)
	if err != nil {
		return err
	}
	f, err := openFile(s.path("file.tmp"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
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
	if err := unix.Rename(f.path, target); err != nil {
		return &os.LinkError{Op: "rename", Old: f.path, New: target, Err: err}
	}
	if err := s.wroteRenamed(target); err != nil {
		return err
	}
	return s.moved(Expectation{Operation: opRename}, f.path, target)
}

func renameExchange(s *stage) error {
	var paths [2]string
	for i, n := range []int{small, block} {
		path, err := s.prepare(fmt.Sprintf("file%d", i), n, clean)
		if err != nil {
			return err
		}
		paths[i] = path
	}
	if err := unix.Renameat2(unix.AT_FDCWD, paths[0], unix.AT_FDCWD, paths[1], unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: paths[0], New: paths[1], Err: err}
	}
	if err := s.moved(Expectation{Operation: opRename}, paths[0], paths[1]); err != nil {
		return err
	}
	return s.moved(Expectation{Operation: opRename}, paths[1], paths[0])
}

func renameDirectory(s *stage) error {
	from, to := s.path("old"), s.path("new")
	if err := unix.Mkdir(from, 0o755); err != nil {
		return &os.PathError{Op: "mkdir", Path: from, Err: err}
	}
	if err := s.changed(opCreate, from); err != nil {
		return err
	}
	if _, err := s.prepare("old/file", small, clean); err != nil {
		return err
	}
	if err := unix.Rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return s.moved(Expectation{Operation: opRename}, from, to)
}

func tmpfileLinkat(s *stage) error {
	f, err := openFile(s.dir, unix.O_TMPFILE|unix.O_WRONLY)
	if err != nil {
		return err
	}
	if err := f.write(fill(newByte, small)); err != nil {
		return err
	}
	path := s.path("file")
	if err := unix.Linkat(unix.AT_FDCWD, procFD(f.fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "linkat", Old: procFD(f.fd), New: path, Err: err}
	}
	if err := f.close(); err != nil {
		return err
	}
	if err := s.wrote(path, 0); err != nil {
		return err
	}
	// The file has no path of its own before it has this one.
	linked, err := identify(path)
	if err != nil {
		return err
	}
	linked.Path = ""
	s.expect(Expectation{Kind: FileChange, Operation: opLink, File: linked, TargetPath: path})
	return nil
}
