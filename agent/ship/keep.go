// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent/ship/spool"
)

const (
	// How long a batch that nobody has acknowledged may be on its way to the disk: what a loss of power may cost. A
	// collector that answers sooner spares the disk.
	syncAfter = time.Second
	// How long a disk that failed is left alone.
	diskPause = 5 * time.Second
)

// Keep writes batches to the spool until ctx ends, then what is left, and closes the spool. It has nothing to do for a queue
// without one. A disk that fails is a state and no error: batches wait in memory.
func (q *Queue) Keep(ctx context.Context) error {
	if q.o.Spool == nil {
		return nil
	}
	sync := time.NewTimer(syncAfter)
	defer sync.Stop()
	armed := true
	for ctx.Err() == nil {
		pause := q.keepAll()
		if q.o.Spool.Unsynced() && !armed {
			sync.Reset(syncAfter)
			armed = true
		}
		select {
		case <-ctx.Done():
		case <-q.unkept:
		case <-pause:
		case <-sync.C:
			armed = false
			if err := q.o.Spool.Sync(); err != nil {
				q.o.Logger.Error("what is in the spool may not outlive a loss of power", "error", err)
			}
		}
	}
	q.Flush()
	q.keepAll()
	if err := q.o.Spool.Close(); err != nil {
		return fmt.Errorf("close the spool: %w", err)
	}
	if n := q.Stats().Volatile; n > 0 {
		return fmt.Errorf("stopped with %d events that neither a collector nor the spool has", n)
	}
	return nil
}

// keepAll writes what is in memory only. Where the disk fails it returns a channel that says when to try again.
func (q *Queue) keepAll() (again <-chan time.Time) {
	for {
		number, e := q.volatileBatch()
		if number == 0 {
			return nil
		}
		err := q.keep(number, e)
		q.outcome(err)
		switch {
		case errors.Is(err, spool.ErrFull):
			return nil // until something is acknowledged
		case err != nil:
			return time.After(diskPause)
		}
	}
}

// volatileBatch returns the oldest batch that is in memory only; its number is 0 when there is none.
func (q *Queue) volatileBatch() (uint64, entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := max(q.kept+1, q.first()); n <= q.number; n++ {
		if e := q.at(n); e.records > 0 {
			return n, *e
		}
	}
	return 0, entry{}
}

func (q *Queue) keep(number uint64, e entry) error {
	payload, err := proto.Marshal(e.batch)
	if err != nil {
		return fmt.Errorf("encode batch %d: %w", number, err)
	}
	if err := q.o.Spool.Append(number, e.records, payload); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kept = number
	kept := q.at(number)
	if kept == nil || kept.records == 0 {
		return nil // acknowledged, or given up, meanwhile
	}
	kept.spooled = true
	q.volatile -= kept.records
	q.bytes -= kept.bytes
	if q.cached < maxCached {
		q.cached++
	} else {
		kept.batch = nil // those before it are sent first
	}
	return nil
}

// outcome remembers, and says when it changes, whether the disk takes what it is given.
func (q *Queue) outcome(err error) {
	q.mu.Lock()
	before := q.disk
	q.disk = err
	q.mu.Unlock()
	switch {
	case err == nil && before != nil:
		q.o.Logger.Info("the spool takes events again")
	case errors.Is(err, spool.ErrFull) && !errors.Is(before, spool.ErrFull):
		q.o.Logger.Error("the spool is full; what comes is dropped and counted, until a collector takes what is there")
	case err != nil && before == nil:
		q.o.Logger.Error("the spool does not take events; they wait in memory", "error", err)
	}
}
