// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Inodes that are marked stay in memory, a KiB or so each; the kernel allows a user 8,192 marks at least
	// (fs.fanotify.max_user_marks).
	markedRoom = 4096
	// A file that was read at so many calls of Read is left alone for the pause: each event costs whoever reads it.
	hotReadings = 8
	hotPause    = time.Minute
	// A read(2), an execution, and the end of an opening for reading alone: it may have been mapped.
	readMask = unix.FAN_ACCESS | unix.FAN_OPEN_EXEC | unix.FAN_CLOSE_NOWRITE
)

// What MarkedReadback counts.
const (
	markedOverflow = iota
	markedUnmarked
	markedPaused
	markedLosses
)

// unmarkable counts files that cannot be watched; hot, files that were left alone for a while.
var markedReasons = [markedLosses]string{"queue_overflow", "unmarkable", "hot"}

// MarkedReadback observes readings by fanotify(7) marks on just the files that Watch named. A read of one of them costs an
// event, half a microsecond, until the event is in the queue; then no more until Read empties it. A mark on any file
// makes the other files of its file system pay what the marks of Names do, which are there anyhow.
//
// It sees the reading itself (or, of mapped files, its end), and no opening for writing alone. Through an overlay the kernel
// tells nothing of the file of the upper layer.
type MarkedReadback struct {
	fd     int
	files  map[Inode]*markedFile
	known  map[fileHandle]*markedFile
	losses [markedLosses]uint64
	paused int
	buf    []byte
}

type markedFile struct {
	inode  Inode
	handle fileHandle
	path   string
	// Times that it was seen in Read, and when it may be marked again; zero while it is marked.
	seen  int
	until time.Time
}

// OpenMarkedReadback makes the sensor. It takes CAP_SYS_ADMIN.
func OpenMarkedReadback() (*MarkedReadback, error) {
	if err := inInitialPidNamespace(); err != nil {
		return nil, fmt.Errorf("read-back sensor: %w", err)
	}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_FID, unix.O_RDONLY)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("read-back sensor: fanotify_init: %w; CAP_SYS_ADMIN is needed", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read-back sensor: fanotify_init: %w", err)
	}
	m := &MarkedReadback{fd: fd, files: map[Inode]*markedFile{}, known: map[fileHandle]*markedFile{}, buf: make([]byte, namesBuffer)}
	if err := m.mayMark(); err != nil {
		return nil, errors.Join(fmt.Errorf("read-back sensor: %w", err), unix.Close(fd))
	}
	return m, nil
}

// mayMark tries what an agent without CAP_SYS_ADMIN may not do. Such a one is told of events, but not whose they are.
func (m *MarkedReadback) mayMark() error {
	err := unix.FanotifyMark(m.fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_DELETE_SELF, unix.AT_FDCWD, "/proc/self/ns")
	switch {
	case errors.Is(err, unix.EPERM):
		return errDenied
	case err == nil:
		return unix.FanotifyMark(m.fd, unix.FAN_MARK_FLUSH|unix.FAN_MARK_FILESYSTEM, 0, unix.AT_FDCWD, "/")
	default: // it may, and this file system cannot
		return nil
	}
}

// Watched reports false: marks end with their agent.
func (m *MarkedReadback) Watched() bool { return false }

// Keep has nothing to forget.
func (m *MarkedReadback) Keep(func(Inode) bool) error { return nil }

// Room is how many files may be watched at once.
func (m *MarkedReadback) Room() int { return markedRoom }

// Watch names a file. One that cannot be marked is counted.
func (m *MarkedReadback) Watch(f *WatchedFile) error {
	if m.files[f.Inode] != nil {
		return nil
	}
	file := &markedFile{inode: f.Inode, path: f.Path}
	if err := m.mark(file); err != nil {
		m.losses[markedUnmarked]++
		return nil
	}
	m.files[f.Inode], m.known[file.handle] = file, file
	return nil
}

func (m *MarkedReadback) mark(file *markedFile) error {
	fd, err := file.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd) // O_PATH: nothing is written
	var st unix.Statfs_t
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("name_to_handle_at: %w", err)
	}
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	file.handle = newFileHandle(fsidOf(&st), h.Type(), h.Bytes())
	return m.change(unix.FAN_MARK_ADD, fd)
}

func (m *MarkedReadback) change(flags uint, fd int) error {
	// Descriptors of paths are not taken, their names are.
	if err := unix.FanotifyMark(m.fd, flags, readMask, unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd)); err != nil {
		return fmt.Errorf("fanotify_mark: %w", err)
	}
	return nil
}

// open returns a descriptor (O_PATH) of the file: under the path that it had or, when it was renamed, by its handle.
func (f *markedFile) open() (int, error) {
	if f.path == "" {
		return -1, errNoPath
	}
	fd, err := unix.Open(f.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil && sameFile(fd, f.inode.Number) {
		return fd, nil
	}
	if err == nil {
		_ = unix.Close(fd) // of another file
		err = unix.ENOENT
	}
	if f.handle.none() {
		return -1, fmt.Errorf("open %s: %w", f.path, err)
	}
	dir, err := unix.Open(filepath.Dir(f.path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the directory of %s: %w", f.path, err)
	}
	defer unix.Close(dir) // nothing is written
	if fd, err = unix.OpenByHandleAt(dir, f.handle.system(), unix.O_PATH|unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("open_by_handle_at: %w", err)
	}
	if !sameFile(fd, f.inode.Number) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("open_by_handle_at: %w", unix.ESTALE)
	}
	return fd, nil
}

// Forget ends Watch.
func (m *MarkedReadback) Forget(i Inode) error {
	file := m.files[i]
	if file == nil {
		return nil
	}
	delete(m.files, i)
	delete(m.known, file.handle)
	m.unmark(file)
	return nil
}

func (m *MarkedReadback) unmark(file *markedFile) {
	if !file.until.IsZero() {
		m.paused--
		return
	}
	fd, err := file.open()
	if err != nil {
		return // a mark ends with its inode
	}
	defer unix.Close(fd)                   // O_PATH: nothing is written
	_ = m.change(unix.FAN_MARK_REMOVE, fd) // it was marked: or else it is gone, and so is the mark
}

// Revive ends the pauses: somebody new is there who may read for the first time.
func (m *MarkedReadback) Revive() { m.revive(time.Time{}) }

func (m *MarkedReadback) revive(now time.Time) {
	if m.paused == 0 {
		return
	}
	for _, file := range m.files {
		if file.until.IsZero() || (!now.IsZero() && now.Before(file.until)) {
			continue
		}
		m.paused--
		file.until, file.seen = time.Time{}, 0
		if m.mark(file) != nil {
			delete(m.files, file.inode)
			delete(m.known, file.handle)
		}
	}
}

// Read calls fn for what was read since it was last called. fn must not keep the Reading.
func (m *MarkedReadback) Read(fn func(*Reading)) error {
	now := time.Now()
	m.revive(now)
	seen := map[*markedFile]bool{}
	for {
		n, err := unix.Read(m.fd, m.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			for file := range seen {
				m.cool(file, now)
			}
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read-back sensor: read events: %w", err)
		}
		at := bootNow()
		err = decodeNames(m.buf[:n], func(r *nameRecord) {
			file := m.known[r.child]
			switch {
			case r.mask&unix.FAN_Q_OVERFLOW != 0:
				m.losses[markedOverflow]++
			case file != nil:
				seen[file] = true
				fn(&Reading{Inode: file.inode, Tgid: r.tgid, First: at, Last: at})
			}
		})
		if err != nil {
			return fmt.Errorf("read-back sensor: %w", err)
		}
	}
}

// cool leaves a file alone for a while when it is read again and again.
func (m *MarkedReadback) cool(file *markedFile, now time.Time) {
	if file.seen++; file.seen < hotReadings || !file.until.IsZero() {
		return
	}
	m.unmark(file)
	file.until = now.Add(hotPause)
	m.paused++
	m.losses[markedPaused]++
}

// Losses returns what was lost since the sensor was opened.
func (m *MarkedReadback) Losses() ([]Loss, error) {
	var out []Loss
	for i, reason := range markedReasons {
		out = append(out, Loss{Reason: reason, Count: m.losses[i]})
	}
	return out, nil
}

// Close ends all marks.
func (m *MarkedReadback) Close() error {
	if err := unix.Close(m.fd); err != nil {
		return fmt.Errorf("read-back sensor: %w", err)
	}
	return nil
}
