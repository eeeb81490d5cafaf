// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Names beside the database while it is replaced.
const (
	// copyingName is a backup that is being copied.
	copyingName = FileName + ".copying"
	// restoringName is one that was found whole and takes the place of the store: while it is there, what has the store's name may be half
	// of something, and no collector may open it.
	restoringName = FileName + ".restoring"
	// ReplacedName is what was the store before.
	ReplacedName = FileName + ".replaced"
)

// ErrStoreExists: a store would be replaced.
var ErrStoreExists = errors.New("there is a store already")

// errHalfRestored: a restore was interrupted between two names.
var errHalfRestored = errors.New("a restore was interrupted here: repeat \"spoor store restore --replace\"")

// Restore makes the backup in file the store of dir. A store that is there is an ErrStoreExists, unless it is to be replaced; then it is
// kept beside, as ReplacedName. A store that a collector has open is refused. What is restored was checked before anything is replaced, and
// whenever it is interrupted, either the old or the new store is there, or Open says that the restore must be repeated.
func Restore(ctx context.Context, dir, file string, replace bool) (_ *Summary, err error) {
	path := filepath.Join(dir, FileName)
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore %s from %s: %w", path, file, err)
		}
	}()
	if err := noLog(file); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := mayReplace(dir, replace); err != nil {
		return nil, err
	}
	copying := filepath.Join(dir, copyingName)
	sum, err := copyChecked(ctx, file, copying)
	if err != nil {
		return nil, errors.Join(err, removeAny(copying), removeAny(copying+"-journal"))
	}
	if err := swap(dir); err != nil {
		return nil, err
	}
	sum.Path = path
	return sum, nil
}

// noLog refuses a file that is only half of what it says.
func noLog(file string) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		info, err := os.Stat(file + suffix)
		if err == nil && info.Size() > 0 {
			return fmt.Errorf("%w: %s holds a part of it", ErrNotABackup, file+suffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func mayReplace(dir string, replace bool) error {
	exists := map[string]bool{}
	for _, name := range []string{FileName, ReplacedName, ReplacedName + "-wal", restoringName} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		exists[name] = err == nil
	}
	switch half := exists[restoringName]; {
	case !replace && (exists[FileName] || half):
		return ErrStoreExists
	case (exists[ReplacedName] || exists[ReplacedName+"-wal"]) && exists[FileName] && !half:
		return fmt.Errorf("%s is there from an earlier restore: remove or rename it, and its -wal if there is one", filepath.Join(dir, ReplacedName))
	}
	return nil
}

// copyChecked copies a backup and makes sure that the copy is a store that can be read, page by page.
func copyChecked(ctx context.Context, from, to string) (_ *Summary, err error) {
	// Of a restore that was killed, and it would be applied to this one.
	if err := removeAny(to + "-journal"); err != nil {
		return nil, err
	}
	if err := copyFile(ctx, from, to); err != nil {
		return nil, err
	}
	c, err := sqlite.OpenConn(to, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(ended(ctx, explained(err)), c.Close()) }()
	c.SetInterrupt(ctx.Done())
	if err := checkOurs(c); err != nil {
		return nil, err
	}
	// A store that was closed and copied has a log by its settings, whose files would be left beside the copy.
	if err := pragmas(c, "journal_mode=delete"); err != nil {
		return nil, err
	}
	problems, err := integrity(c, 1)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, problems[0])
	}
	vacuum, err := sqlitex.ResultInt(c.Prep("PRAGMA auto_vacuum"))
	if err == nil && vacuum == 0 {
		// It was made before stores could give room back. That is decided when a file is written anew, and can be now.
		err = pragmas(c, "auto_vacuum=incremental")
		if err == nil {
			err = sqlitex.ExecuteTransient(c, "VACUUM", nil)
		}
	}
	if err != nil {
		return nil, err
	}
	return summarise(c)
}

func copyFile(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		n, err := io.CopyN(out, in, 64<<20)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("copy: after %d bytes: %w", n, err)
		}
	}
	return out.Sync()
}

// swap puts what was copied in the place of the store. The log goes with the file that it belongs to: SQLite would apply it to another.
func swap(dir string) error {
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Rename(in(copyingName), in(restoringName)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	for from, to := range map[string]string{FileName: ReplacedName, FileName + "-wal": ReplacedName + "-wal"} {
		if err := os.Rename(in(from), in(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := removeAny(in(FileName + "-shm")); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Rename(in(restoringName), in(FileName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// notHalfRestored is asked before a store is opened.
func notHalfRestored(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, restoringName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errHalfRestored
	}
	return err
}

// integrity returns up to limit problems of the file itself: pages, indexes, constraints.
func integrity(c *sqlite.Conn, limit int) (problems []string, err error) {
	err = sqlitex.ExecuteTransient(c, fmt.Sprintf("PRAGMA integrity_check(%d)", limit), &sqlitex.ExecOptions{
		ResultFunc: func(st *sqlite.Stmt) error {
			if text := st.ColumnText(0); text != "ok" {
				problems = append(problems, text)
			}
			return nil
		},
	})
	return problems, err
}
