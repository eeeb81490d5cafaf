// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"
)

// Run is what one run of an agent has in the spool. Its frames are numbered without a gap but where some never came here.
type Run struct {
	// Owner is what was given to Open by the agent that wrote it.
	Owner []byte
	// Ended is when it was last written to, by this machine's clock; zero for the present run.
	Ended time.Time

	spool        *Spool
	segments     []*segment // oldest first; guarded by spool.mu, as the rest
	acknowledged uint64
}

// segment is one file.
type segment struct {
	name    string
	size    int64
	first   uint64
	frames  []frame // number first, first+1, ...
	open    bool    // it takes more
	writing bool    // at this moment
}

// frame says where a frame is, and how many records it has; none means that it is damaged or was dropped.
type frame struct{ offset, records uint32 }

// ErrNone: nothing with such a number, or above it, is here.
var ErrNone = errors.New("nothing there")

// DamagedError is a frame that was sound when it was written, or found, and is not any more.
type DamagedError struct {
	Number  uint64
	Records int
	err     error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("batch %d with %d records cannot be read: %v", e.Number, e.Records, e.err)
}

func (e *DamagedError) Unwrap() error { return e.err }

// Acknowledged returns the highest number that is known to be acknowledged.
func (r *Run) Acknowledged() uint64 {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	return r.acknowledged
}

// Records returns how many records wait to be acknowledged.
func (r *Run) Records() int {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	return r.records()
}

func (r *Run) records() int {
	n := 0
	for _, s := range r.segments {
		for i, f := range s.frames {
			if s.first+uint64(i) > r.acknowledged {
				n += int(f.records)
			}
		}
	}
	return n
}

// Read returns the payload of the first frame after a number, and its own number. It returns ErrNone when there is none, and a
// *DamagedError when it is there and cannot be read: Drop lets the next one be read.
func (r *Run) Read(after uint64) (number uint64, payload []byte, err error) {
	name, f, number, size := r.find(after)
	if number == 0 {
		return 0, nil, ErrNone
	}
	payload, err = r.spool.read(name, int64(f.offset), size, number)
	if err != nil {
		return number, nil, &DamagedError{Number: number, Records: int(f.records), err: err}
	}
	return number, payload, nil
}

// find returns the place of the first frame after a number; its number is 0 when there is none.
func (r *Run) find(after uint64) (name string, f frame, number uint64, size int64) {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	after = max(after, r.acknowledged)
	for _, s := range r.segments {
		for i := max(after+1, s.first) - s.first; i < uint64(len(s.frames)); i++ {
			if s.frames[i].records > 0 {
				return s.name, s.frames[i], s.first + i, s.size
			}
		}
	}
	return "", frame{}, 0, 0
}

// read reads one frame of a file of which size bytes were written.
func (s *Spool) read(name string, offset, size int64, number uint64) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, headBytes)
	if _, err := f.ReadAt(b, offset); err != nil {
		return nil, cut(err)
	}
	h, err := parseHead(b)
	if err != nil {
		return nil, err
	}
	if h.number != number || offset+headBytes+int64(h.length) > size {
		return nil, errDamaged
	}
	payload := make([]byte, h.length)
	if _, err := f.ReadAt(payload, offset+headBytes); err != nil && !errors.Is(err, io.EOF) {
		return nil, cut(err)
	}
	if checksum(payload) != h.payload {
		return nil, errDamaged
	}
	return payload, nil
}

// Acknowledge lets go of everything up to a number. Files go when nothing in them is waited for.
func (r *Run) Acknowledge(number uint64) error {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	if number <= r.acknowledged {
		return nil
	}
	r.acknowledged = number
	return r.sweep()
}

// Drop makes Read pass over one frame, and returns how many records that are.
func (r *Run) Drop(number uint64) (records int, err error) {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	before := r.records()
	for _, s := range r.segments {
		if number >= s.first && number < s.first+uint64(len(s.frames)) {
			s.frames[number-s.first].records = 0
		}
	}
	return before - r.records(), r.sweep()
}

// Discard drops the whole run and returns how many records that are.
func (r *Run) Discard() (records int, err error) {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	records = r.records()
	for _, s := range r.segments {
		clear(s.frames)
	}
	return records, r.sweep()
}

// sweep removes the files that have nothing in them that is waited for.
func (r *Run) sweep() error {
	var errs []error
	r.segments = slices.DeleteFunc(r.segments, func(s *segment) bool {
		if s.writing || s.open && s.size < r.spool.o.segmentBytes()/4 {
			return false // it takes more
		}
		for i, f := range s.frames {
			if f.records > 0 && s.first+uint64(i) > r.acknowledged {
				return false
			}
		}
		err := r.spool.root.Remove(s.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		s.open = false // whoever appends begins another one
		r.spool.bytes.Add(-rounded(s.size))
		return true
	})
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove from the spool what was acknowledged: %w", err)
	}
	return nil
}
