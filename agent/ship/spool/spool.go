// SPDX-License-Identifier: Apache-2.0

// Package spool keeps batches in files until they are acknowledged, so that they outlive the agent.
//
// A folder belongs to one agent at a time. Each run of the agent appends to segments of its own, and never to those of the
// run before: a tail that was torn by a crash stays where it is, and nothing is ever written over. Frames have checksums; what
// they do not hold for is passed over and counted.
//
// When what was appended is safe: from the end of Append against the end of the process, however it comes; from the end of
// Sync against a loss of power. The package knows neither records nor collectors: payloads and owners are bytes.
package spool

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
)

// Options of a Spool.
type Options struct {
	// A folder of the agent's own; it is made, with mode 0700, where its parent exists.
	Dir string
	// Bytes that files may take, in blocks of 4 KiB: at least MinLimit.
	Limit int64
	// Says whose frames these are; runs with equal owners are one. At most 64 KiB.
	Owner []byte
}

// MinLimit is the smallest limit: some segments, each with room for some batches.
const MinLimit = 16 << 20

// segmentBytes is when a new file is begun: room comes back in steps of this size.
func (o *Options) segmentBytes() int64 { return min(max(o.Limit/64, 512<<10), 8<<20) }

// Spool is an open folder.
type Spool struct {
	o     Options
	root  *os.Root
	lock  *os.File
	bytes atomic.Int64
	found Found

	// What follows belongs to whoever calls Append and Sync, which must be one goroutine at a time.
	file     *os.File // the open segment, or nil
	unsynced bool
	born     bool // the folder has entries that were not synced
	buffer   []byte
	id       uint64 // of the last segment

	mu   sync.Mutex // guards the runs' segments; not held while files are read or written, but while they are removed
	runs []*Run     // of earlier agents, oldest first
	own  *Run
}

// ErrFull: the frame does not fit until something is acknowledged.
var ErrFull = errors.New("the spool is full")

// Left returns what earlier runs left, oldest first. Each is read, acknowledged or discarded by one goroutine.
func (s *Spool) Left() []*Run { return s.runs }

// Own returns the present run.
func (s *Spool) Own() *Run { return s.own }

// Found says what Open saw.
func (s *Spool) Found() Found { return s.found }

// Bytes returns how many bytes the files take, in whole blocks.
func (s *Spool) Bytes() int64 { return s.bytes.Load() }

// Crowded reports that nothing new should be taken: a sixteenth of the room is kept for what was taken already.
func (s *Spool) Crowded() bool { return s.bytes.Load() >= s.o.Limit-s.o.Limit/16 }

// Append writes a frame. Numbers must grow. After an error nothing of the frame is there, and it may be tried again. The number of
// records must not be 0.
func (s *Spool) Append(number uint64, records int, payload []byte) error {
	if len(payload) > MaxPayload || records <= 0 || records > math.MaxUint32 {
		return fmt.Errorf("append to the spool: batch %d with %d records in %d bytes: at most %d bytes are taken", number, records, len(payload), MaxPayload)
	}
	seg, err := s.segment(number, int64(headBytes+len(payload)))
	if err != nil {
		return err
	}
	err = s.write(seg, number, records, payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.writing = false
	if err != nil {
		return fmt.Errorf("append to the spool: %w", err)
	}
	offset := seg.size
	seg.size += int64(headBytes + len(payload))
	s.bytes.Add(rounded(seg.size) - rounded(offset))
	seg.frames = append(seg.frames, frame{offset: uint32(offset), records: uint32(records)}) //nolint:gosec // checked above; a segment is far smaller
	return nil
}

func (s *Spool) write(seg *segment, number uint64, records int, payload []byte) error {
	s.buffer = appendFrame(s.buffer[:0], head{
		records: uint32(records), number: number, acknowledged: s.own.Acknowledged(), //nolint:gosec // checked above
	}, payload)
	if _, err := s.file.WriteAt(s.buffer, seg.size); err != nil {
		return errors.Join(err, s.file.Truncate(seg.size))
	}
	if cap(s.buffer) > 4<<20 {
		s.buffer = nil // one that was large beyond measure
	}
	s.unsynced = true
	return nil
}

// segment returns the open segment, or a new one where there is none, it is large enough, or the number does not follow. It
// marks it as being written to.
func (s *Spool) segment(number uint64, size int64) (*segment, error) {
	if s.bytes.Load()+size+int64(prefixBytes+len(s.o.Owner))+2*blockBytes > s.o.Limit {
		return nil, ErrFull
	}
	if seg := s.goOn(number); seg != nil {
		return seg, nil
	}
	if err := s.closeFile(); err != nil {
		return nil, err
	}
	return s.create(number)
}

func (s *Spool) goOn(number uint64) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.own.segments)
	if n == 0 || !s.own.segments[n-1].open {
		return nil
	}
	seg := s.own.segments[n-1]
	if number != seg.first+uint64(len(seg.frames)) || seg.size >= s.o.segmentBytes() {
		seg.open = false
		return nil
	}
	seg.writing = true
	return seg
}

// create begins a segment.
func (s *Spool) create(number uint64) (*segment, error) {
	name := segmentName(s.id + 1)
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin a segment of the spool: %w", err)
	}
	s.id++
	prefix := appendPrefix(nil, s.o.Owner)
	if _, err := f.Write(prefix); err != nil {
		return nil, errors.Join(fmt.Errorf("begin a segment of the spool: %w", err), f.Close(), s.root.Remove(name))
	}
	s.file, s.born = f, true
	seg := &segment{name: name, size: int64(len(prefix)), first: number, open: true, writing: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own.segments = append(s.own.segments, seg)
	s.bytes.Add(rounded(seg.size))
	return seg, nil
}

// closeFile ends the segment that was open. One whose content is acknowledged has no name any more, and needs no disk.
func (s *Spool) closeFile() error {
	if s.file == nil {
		return nil
	}
	err := s.Sync()
	err = errors.Join(err, s.file.Close())
	s.file = nil
	if err != nil {
		return fmt.Errorf("end a segment of the spool: %w", err)
	}
	return nil
}

// Unsynced reports whether Sync has something to do.
func (s *Spool) Unsynced() bool { return s.unsynced }

// Sync makes everything that was appended, and still waits, safe from a loss of power, as far as the disk keeps its word.
func (s *Spool) Sync() error {
	if s.file == nil || !s.unsynced {
		return nil
	}
	if s.own.Records() == 0 {
		s.unsynced = false // nobody waits for it
		return nil
	}
	if err := fdatasync(s.file); err != nil {
		return fmt.Errorf("sync the spool: %w", err)
	}
	s.unsynced = false
	if s.born {
		if err := s.syncFolder(); err != nil {
			return err
		}
		s.born = false
	}
	return nil
}

func (s *Spool) syncFolder() error {
	d, err := s.root.Open(".")
	if err != nil {
		return fmt.Errorf("sync the spool's folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync the spool's folder: %w", err)
	}
	return nil
}

// Close syncs what waits, removes what does not, and lets another agent have the folder.
func (s *Spool) Close() error {
	err := s.closeFile()
	s.mu.Lock()
	for _, seg := range s.own.segments {
		seg.open = false
	}
	err = errors.Join(err, s.own.sweep())
	s.mu.Unlock()
	return errors.Join(err, s.root.Close(), s.lock.Close())
}

const blockBytes = 4 << 10

// rounded returns what a file of size bytes takes.
func rounded(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }
