// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spoor/spoor/collector/store"
	"golang.org/x/sys/unix"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// partialSuffix is behind the name of a backup that is being written.
const partialSuffix = ".partial"

// What is wrong with a file that should be a store or backup.
var (
	ErrNotAStore = errors.New("it is no store of Spoor")
	ErrDamaged   = errors.New("it is damaged")
	// ErrNotABackup: a part of it is in another file.
	ErrNotABackup = errors.New("it is no backup but a store that was copied or is in use")
)

// Summary says what a file holds.
type Summary struct {
	Path   string `json:"path"`
	Schema int    `json:"schema"`
	Events int64  `json:"events"`
	Bytes  uint64 `json:"bytes"`
}

// Backup writes what the store in dir holds at this moment into a new file, while a collector may go on to write. The file has
// its name only when it is whole and on the disk; until then it is called file.partial. It is compact, and for its owner only.
// A store that does not exist is an fs.ErrNotExist, a file that does an fs.ErrExist.
func Backup(ctx context.Context, dir, file string) (_ *Summary, err error) {
	path := filepath.Join(dir, FileName)
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up %s: %w", path, err)
		}
	}()
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "write", Path: file, Err: fs.ErrExist}
		}
		return nil, err
	}
	partial, err := lockFile(file + partialSuffix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial.Name()), removeAny(partial.Name()+"-journal"))
		}
		err = errors.Join(err, partial.Close())
	}()
	// What a backup that was killed has left is not continued. Its journal would be applied to this one.
	if err := removeAny(partial.Name() + "-journal"); err != nil {
		return nil, err
	}
	if err := partial.Truncate(0); err != nil {
		return nil, err
	}
	sum, err := copyTo(ctx, path, partial.Name())
	if err != nil {
		return nil, err
	}
	sum.Path = file
	if err := partial.Sync(); err != nil {
		return nil, err
	}
	info, err := partial.Stat()
	if err != nil {
		return nil, err
	}
	sum.Bytes = uint64(info.Size())
	if err := publish(partial.Name(), file); err != nil {
		return nil, err
	}
	return sum, syncDir(filepath.Dir(file))
}

// lockFile opens or makes a file that one process at a time writes.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process is writing %s: wait for it, or choose another name", name)
		}
		return nil, err
	}
	return f, nil
}

// copyTo is one read of one snapshot: the log of the store grows meanwhile by what is written beside it.
func copyTo(ctx context.Context, from, to string) (_ *Summary, err error) {
	c, err := openForReading(from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	c.SetInterrupt(ctx.Done())
	if err := sqlitex.Execute(c, "VACUUM INTO ?", &sqlitex.ExecOptions{Args: []any{to}}); err != nil {
		return nil, ended(ctx, err)
	}
	copied, err := openForReading(to)
	if err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	return summarise(copied)
}

// ended says in words that a statement was interrupted because ctx ended.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// openForReading opens a file that must be a store. It needs no lock: SQLite sees to readers beside a writer.
func openForReading(path string) (*sqlite.Conn, error) {
	c, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	c.SetBusyTimeout(10 * time.Second)
	if err := errors.Join(pragmas(c, "temp_store=memory"), checkOurs(c)); err != nil {
		return nil, errors.Join(explained(err), c.Close())
	}
	return c, nil
}

// explained says what two of SQLite's errors mean here.
func explained(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB:
		return fmt.Errorf("%w: %w", ErrNotAStore, err)
	case sqlite.ResultCorrupt:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// summarise refuses a file that is no store, or one of a newer version.
func summarise(c *sqlite.Conn) (*Summary, error) {
	r := &reader{conn: c}
	tables, err := r.integer("SELECT count(*) FROM sqlite_schema WHERE name IN ('schema_version', 'event', 'meta')")
	if err != nil {
		return nil, err
	}
	if tables != 3 {
		return nil, fmt.Errorf("%w: it lacks the tables of one", ErrNotAStore)
	}
	schema, err := r.integer("SELECT max(version) FROM schema_version")
	if err != nil {
		return nil, err
	}
	all, err := migrations()
	if err != nil {
		return nil, err
	}
	if newest := int64(all[len(all)-1].version); schema > newest {
		return nil, fmt.Errorf("%w: its schema is %d, this version knows up to %d: use the newer version", store.ErrNewerSchema, schema, newest)
	}
	events, err := r.integer("SELECT value FROM meta WHERE key = 'events'")
	if err != nil {
		return nil, err
	}
	p, err := r.pages()
	return &Summary{Schema: int(schema), Events: events, Bytes: uint64(p.all * p.size)}, err
}

// publish gives a file its name unless something has it.
func publish(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
	}
	if err != nil {
		return fmt.Errorf("name %s: %w", to, err)
	}
	return nil
}

// removeAny removes a file if it is there.
func removeAny(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
