// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Found says what Open saw of earlier runs.
type Found struct {
	// Runs that left something, and the records in it that were not known to be acknowledged.
	Runs, Records int
	// Places where what was written is torn or damaged, the bytes there, and the records as far as that can be known: a
	// place of which nothing can be read counts as one.
	Places, LostRecords int
	LostBytes           int64
	// Files with a segment's name that no version known here has written; they are left alone.
	Foreign []string
}

// HeldError is returned where another process has the folder.
type HeldError struct{ Dir string }

func (e *HeldError) Error() string { return "another agent has the spool " + e.Dir }

const suffix = ".segment"

func segmentName(id uint64) string { return fmt.Sprintf("%016x%s", id, suffix) }

func segmentID(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(hex, 16, 64)
	return id, err == nil
}

// Open takes a folder and reads through all that earlier runs left in it. It returns a *HeldError when another process has
// the folder.
func Open(o Options) (*Spool, error) {
	if o.Limit < MinLimit {
		return nil, fmt.Errorf("a spool of %d bytes: at least %d are needed", o.Limit, MinLimit)
	}
	if len(o.Owner) > maxOwner {
		return nil, fmt.Errorf("the spool's owner is described by %d bytes, at most %d are taken", len(o.Owner), maxOwner)
	}
	s := &Spool{o: o}
	s.own = &Run{Owner: o.Owner, spool: s}
	if err := s.openFolder(); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the spool %s: %w", o.Dir, err), s.root.Close(), s.lock.Close())
	}
	return s, nil
}

// openFolder makes, checks and locks the folder.
func (s *Spool) openFolder() error {
	if err := os.Mkdir(s.o.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the spool's folder: %w", err)
	}
	root, err := os.OpenRoot(s.o.Dir)
	if err != nil {
		return fmt.Errorf("open the spool's folder: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		err = fmt.Errorf("others may write to %s (mode %04o), and what is in it is taken for the agent's word: chmod go-w", s.o.Dir, info.Mode().Perm())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the spool's folder: %w", err), root.Close())
	}
	lock, err := root.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return errors.Join(fmt.Errorf("lock the spool: %w", err), root.Close())
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = &HeldError{s.o.Dir}
		}
		return errors.Join(fmt.Errorf("lock the spool: %w", err), lock.Close(), root.Close())
	}
	s.root, s.lock = root, lock
	return nil
}

// recover reads all segments, in the order in which they were begun.
func (s *Spool) recover() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	// ReadDir sorts by name, which is the order of the ids.
	for _, e := range entries {
		id, ok := segmentID(e.Name())
		if !ok {
			continue
		}
		s.id = id
		if err := s.recoverSegment(e.Name()); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	var errs []error
	s.runs = slices.DeleteFunc(s.runs, func(r *Run) bool {
		errs = append(errs, r.sweep())
		s.found.Records += r.records()
		return len(r.segments) == 0
	})
	s.found.Runs = len(s.runs)
	return errors.Join(errs...)
}

func (s *Spool) recoverSegment(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.bytes.Add(rounded(info.Size()))
	r := bufio.NewReaderSize(f, 256<<10)
	owner, err := readPrefix(r)
	switch {
	case errors.Is(err, errForeign):
		s.found.Foreign = append(s.found.Foreign, name)
		return nil
	case errors.Is(err, errDamaged): // it was begun, and nothing can be in it
		if info.Size() > int64(prefixBytes) {
			s.found.lost(1, info.Size())
		}
		s.bytes.Add(-rounded(info.Size()))
		return s.root.Remove(name)
	case err != nil:
		return err
	}
	run := s.runOf(owner)
	run.Ended = info.ModTime()
	seg := &segment{name: name, size: info.Size()}
	begin := int64(prefixBytes + len(owner))
	read, err := scan(r, func(h head, offset int64, sound bool) {
		run.acknowledged = max(run.acknowledged, h.acknowledged)
		records := h.records
		if !sound {
			s.found.lost(int(h.records), headBytes+int64(h.length))
			records = 0
		}
		if !seg.take(h.number, frame{offset: uint32(begin + offset), records: records}) { //nolint:gosec // far smaller
			s.found.lost(int(h.records), headBytes+int64(h.length))
		}
	})
	switch {
	case errors.Is(err, errCut) && len(seg.frames) > 0 && seg.frames[len(seg.frames)-1].records == 0:
		// the frame that was cut has been counted
	case errors.Is(err, errDamaged):
		s.found.lost(1, info.Size()-begin-read)
	case err != nil:
		return err
	}
	run.segments = append(run.segments, seg)
	return nil
}

// take adds a frame. Numbers in a segment follow one another; another one was not written by us.
func (s *segment) take(number uint64, f frame) bool {
	if len(s.frames) == 0 {
		s.first = number
	}
	if number != s.first+uint64(len(s.frames)) {
		return false
	}
	s.frames = append(s.frames, f)
	return true
}

func (f *Found) lost(records int, bytes int64) {
	f.Places++
	f.LostRecords += records
	f.LostBytes += bytes
}

// runOf returns the run that wrote a segment: the last one, or a new one.
func (s *Spool) runOf(owner []byte) *Run {
	if n := len(s.runs); n > 0 && bytes.Equal(s.runs[n-1].Owner, owner) {
		return s.runs[n-1]
	}
	r := &Run{Owner: owner, spool: s}
	s.runs = append(s.runs, r)
	return r
}

// fdatasync brings a file's content to the disk, and of its description what is needed to read it.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
