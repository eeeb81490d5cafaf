// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const (
	// checkpointAt is how many pages the log has before it is copied back into the file, 32 MiB: pages that change often are then copied once.
	checkpointAt = 8000
	// restAt is how few pages may be left to be copied while nothing is written, and passes how often that is tried to reach.
	restAt, passes = 500, 4
	// checkpointByWriter is the length of log at which the writer does it, in case nobody else can.
	checkpointByWriter = 8 * checkpointAt
)

// checkpoint copies the log back into the file, on a connection and a goroutine of its own. SQLite would have the writer do it, in the commit that
// makes the log long enough, and wait for two syncs of the disk. The log begins anew only when all of it is copied, so the last pages
// are copied while nothing is written.
type checkpoint struct {
	conn    *sqlite.Conn
	writing sync.Locker
	log     *slog.Logger
	wake    chan struct{}
	stop    chan struct{}
	over    chan struct{}
	failing bool
	at      int // lowered by tests
}

func startCheckpoint(path string, writing sync.Locker, log *slog.Logger) (*checkpoint, error) {
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, fmt.Errorf("open connection for the log: %w", err)
	}
	if err := pragmas(c, "synchronous=normal", "cache_size=-1024"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	p := &checkpoint{conn: c, writing: writing, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}), over: make(chan struct{}), at: checkpointAt}
	go func() {
		defer close(p.over)
		for {
			select {
			case <-p.wake:
				p.tell(p.look())
			case <-p.stop:
				return
			}
		}
	}()
	return p, nil
}

// close returns when nothing runs any more.
func (p *checkpoint) close() error {
	close(p.stop)
	<-p.over
	return p.conn.Close()
}

// committed says that the log may be longer.
func (p *checkpoint) committed() {
	select {
	case p.wake <- struct{}{}:
	default: // it will look
	}
}

// look copies the log when it is long enough.
func (p *checkpoint) look() error {
	left, err := p.run("NOOP")
	if err != nil || left < p.at {
		return err
	}
	for range passes {
		if _, err := p.run("PASSIVE"); err != nil {
			return err
		}
		if left, err = p.run("NOOP"); err != nil || left < restAt {
			break
		}
	}
	if err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	_, err = p.run("PASSIVE")
	return err
}

// run does a checkpoint of a kind, and returns how many pages of the log are not in the file.
func (p *checkpoint) run(kind string) (left int, err error) {
	err = sqlitex.Execute(p.conn, "PRAGMA wal_checkpoint("+kind+")", &sqlitex.ExecOptions{ResultFunc: func(st *sqlite.Stmt) error {
		left = st.ColumnInt(1) - st.ColumnInt(2)
		return nil
	}})
	return left, err
}

// tell says once what is wrong, and once that it is over. Nothing is lost by it: the log grows, until the disk is full.
func (p *checkpoint) tell(err error) {
	switch failing := err != nil; {
	case failing && !p.failing:
		p.log.Error("the log of the store cannot be copied into its file, and grows", "error", err)
	case !failing && p.failing:
		p.log.Info("the log of the store can be copied into its file again")
	}
	p.failing = err != nil
}
