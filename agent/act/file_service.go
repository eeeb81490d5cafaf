// SPDX-License-Identifier: Apache-2.0

package act

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// fileServiceActs write files as long-running services do.
func fileServiceActs() []*Act {
	return []*Act{{
		Name: "sqlite-commit", Group: GroupFile,
		Summary: "make an SQLite database, and commit a transaction with a rollback journal",
		run:     sqliteCommit,
	}, {
		Name: "log-rotation", Group: GroupFile,
		Summary: "write a log, rename it, and go on in a new file of the old name",
		run:     rotateLog,
	}}
}

func sqliteCommit(s *stage) error {
	path := s.path("database")
	db, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	err = sqlitex.ExecuteScript(db, `
		PRAGMA journal_mode = DELETE;
		CREATE TABLE t (a TEXT);
		INSERT INTO t VALUES ('committed');
	`, nil)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("commit to %s: %w", path, err)
	}
	if err := s.changed(opCreate, path); err != nil {
		return err
	}
	return s.wrote(path, 0)
}

func rotateLog(s *stage) error {
	path, old := s.path("log"), s.path("log.1")
	for i := range 2 {
		f, err := openFile(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_APPEND)
		if err != nil {
			return err
		}
		if err := f.write(fill(newByte, small)); err != nil {
			return err
		}
		if err := s.changed(opCreate, path); err != nil {
			return err
		}
		if i == 0 {
			if err := unix.Rename(path, old); err != nil {
				return &os.LinkError{Op: "rename", Old: path, New: old, Err: err}
			}
		}
		if err := f.close(); err != nil {
			return err
		}
	}
	if err := s.moved(Expectation{Operation: opRename}, path, old); err != nil {
		return err
	}
	if err := s.wroteRenamed(old); err != nil {
		return err
	}
	return s.wrote(path, 0)
}
