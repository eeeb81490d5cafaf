// SPDX-License-Identifier: Apache-2.0

// Package sqlite keeps events in one SQLite file: the engine for a laptop, a host, or a handful of nodes.
//
// One connection writes, a few read beside it (WAL). What repeats in events (processes, instances, files, addresses)
// is stored once as an entity and referred to by number, so that an event is a row of small integers; see
// migrations/ for the schema and views.sql for what people query with SQL. A database file is a segment: nothing in
// it refers to another file, so that a file a day needs only something above this package that picks segments.
//
// It must not know the wire, the judge or who asks.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// FileName is the database below Options.Dir.
const FileName = "spoor.db"

// applicationID marks the file as ours ("Spor"), for file(1) and against opening somebody else's database.
const applicationID = 0x53706f72

// Options of Open. Zero values mean the defaults.
type Options struct {
	// Dir holds the database; it is made if it does not exist. Required.
	Dir string
	// CacheBytes is how much of the database the writer keeps in memory: 64 MiB.
	CacheBytes int64
	// Readers is how many reads run at a time: 4.
	Readers int
	// Logger hears about migrations. Required.
	Logger *slog.Logger
}

// Store implements store.Store.
type Store struct {
	path    string
	lock    *os.File
	readers *sqlitex.Pool
	ingest  *sqlitex.Pool // one connection, see Reserved
	people  *sqlitex.Pool // for SQL: one statement at a time, under an authorizer
	cache   *entityCache
	// maxFiles and maxTemp are lowered by tests.
	maxFiles int
	maxTemp  int64
	log      *os.File               // SQLite's, which is there for as long as the writer is
	syncLog  func(f *os.File) error // fails in tests

	mu         sync.Mutex // serialises what changes the database
	w          *writer
	checkpoint *checkpoint
}

var _ store.Store = (*Store)(nil)

// Open opens or makes the store in o.Dir, bringing its schema up to date. Only one process can have it open.
func Open(o Options) (_ *Store, err error) {
	if o.Dir == "" {
		return nil, errors.New("open sqlite store: Options.Dir is empty")
	}
	if o.Logger == nil {
		return nil, errors.New("open sqlite store: Options.Logger is nil")
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open sqlite store: %w", err)
	}
	s := &Store{path: filepath.Join(o.Dir, FileName), cache: newEntityCache(32768), maxFiles: maxFiles, maxTemp: maxTemp, syncLog: syncFile}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open sqlite store %s: %w", s.path, err), s.release())
		}
	}()
	if s.lock, err = lockDir(o.Dir); err != nil {
		return nil, err
	}
	if err := notHalfRestored(o.Dir); err != nil {
		return nil, err
	}
	// SQLite would make the file readable to everybody; what it holds is not for everybody. The files beside it
	// take over its mode.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if s.w, err = openWriter(s.path, o.CacheBytes, o.Logger); err != nil {
		return nil, err
	}
	// It is there since the schema was looked at, and stays the same file.
	if s.log, err = os.Open(s.path + "-wal"); err != nil {
		return nil, err
	}
	if s.checkpoint, err = startCheckpoint(s.path, &s.mu, o.Logger); err != nil {
		return nil, err
	}
	if s.readers, err = openReaders(s.path, o.Readers); err != nil {
		return nil, err
	}
	if s.ingest, err = openReaders(s.path, 1); err != nil {
		return nil, err
	}
	s.people, err = sqlitex.NewPool(s.path, sqlitex.PoolOptions{
		Flags:       sqlite.OpenReadOnly,
		PoolSize:    2,
		PrepareConn: prepareForPeople,
	})
	if err != nil {
		return nil, fmt.Errorf("open connection for SQL: %w", err)
	}
	return s, nil
}

func openReaders(path string, n int) (*sqlitex.Pool, error) {
	p, err := sqlitex.NewPool(path, sqlitex.PoolOptions{
		Flags:    sqlite.OpenReadOnly,
		PoolSize: n,
		PrepareConn: func(c *sqlite.Conn) error {
			return pragmas(c, "cache_size=-16384", "temp_store=memory")
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open readers: %w", err)
	}
	return p, nil
}

// Reserved returns a reader with a connection of its own, for whoever must not wait until people have their answers.
func (s *Store) Reserved() store.Reader {
	return &Store{path: s.path, readers: s.ingest, cache: s.cache, maxFiles: s.maxFiles}
}

// Close implements store.Store.
func (s *Store) Close() error {
	if err := s.release(); err != nil {
		return fmt.Errorf("close sqlite store %s: %w", s.path, err)
	}
	return nil
}

func (s *Store) release() error {
	var errs []error
	for _, p := range []*sqlitex.Pool{s.people, s.ingest, s.readers} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if s.checkpoint != nil {
		errs = append(errs, s.checkpoint.close()) // it may wait for s.mu
	}
	if s.w != nil {
		errs = append(errs, s.closeWriter())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) closeWriter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.close()
}

// lockDir keeps a second process out. The kernel lets go of the lock however this one ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "spoor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process has this store open: stop it, or choose another data directory")
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	return f, nil
}

func pragmas(c *sqlite.Conn, settings ...string) error {
	for _, p := range settings {
		if err := sqlitex.ExecuteTransient(c, "PRAGMA "+p, nil); err != nil {
			return fmt.Errorf("pragma %s: %w", p, err)
		}
	}
	return nil
}

// read runs f on a reading connection within one snapshot.
func (s *Store) read(ctx context.Context, f func(*sqlite.Conn) error) (err error) {
	c, err := s.readers.Take(ctx)
	if err != nil {
		return err
	}
	defer s.readers.Put(c)
	// Without a transaction each statement would see its own snapshot, and an event could name an entity that the
	// one before did not see.
	if err := sqlitex.Execute(c, "BEGIN", nil); err != nil {
		return err
	}
	defer func() {
		// An interrupted read has an interrupted connection, which refuses even to end its transaction.
		c.SetInterrupt(nil)
		if err2 := sqlitex.Execute(c, "ROLLBACK", nil); err == nil {
			err = err2
		}
	}()
	if err := f(c); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// change runs f in a transaction of the writer, which is on the disk when it returns.
func (s *Store) change(ctx context.Context, f func(*writer) error) error {
	if err := s.changeAhead(ctx, f); err != nil {
		return err
	}
	return s.sync()
}

// changeAhead is change without the disk.
func (s *Store) changeAhead(ctx context.Context, f func(*writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.w.transaction(func() error { return f(s.w) })
	if err == nil {
		s.checkpoint.committed()
	}
	return err
}

// sync brings to the disk what was committed: it is in the log, or was copied from there into the file and synced with it. When that fails,
// nobody knows what is on the disk, and asking again would not tell: the store takes nothing more.
func (s *Store) sync() error {
	err := s.syncLog(s.log)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("bring the log of the store to the disk: %w", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.broken = err
	return err
}

func syncFile(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
