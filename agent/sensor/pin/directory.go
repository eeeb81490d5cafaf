// SPDX-License-Identifier: Apache-2.0

// Package pin keeps what one agent has in the kernel for the next: maps and links stay in a BPF file system, and go on
// filling while no agent runs.
//
// It knows maps, links and who may have them, and nothing of what is in them.
package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Directory is a folder of a BPF file system that belongs to one agent at a time. Below it each sensor has a folder.
type Directory struct {
	path    string
	lock    *os.File
	sensors []string
	agent   *presence
}

// HeldError says that another process has the folder.
type HeldError struct {
	Path string
	// 0 when it is in another pid namespace.
	PID int
}

func (e *HeldError) Error() string {
	who := "a process outside this pid namespace"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s belongs to %s: another agent runs on this machine", e.Path, who)
}

// Open takes the folder for this process, and makes it if it is not there. It must be in a BPF file system, belong to this
// user, and be closed to all others: who can write there could give the agent maps of his own. While another process has
// it, Open tries again until patience has passed, then returns a *HeldError.
func Open(path string, patience time.Duration) (*Directory, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder for pins: %w", err)
	}
	d, err := take(path, patience, os.Geteuid())
	if err != nil {
		return nil, err
	}
	if d.agent, err = openPresence(filepath.Join(path, presenceName)); err != nil {
		return nil, errors.Join(fmt.Errorf("folder for pins %s: %w", path, err), d.lock.Close())
	}
	return d, nil
}

// take checks the folder, which must be of a user, and locks it.
func take(path string, patience time.Duration, uid int) (*Directory, error) {
	lock, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open the folder for pins: %w", err)
	}
	if err := check(lock, uid); err != nil {
		return nil, errors.Join(fmt.Errorf("folder for pins %s: %w", path, err), lock.Close())
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Directory{path: path, lock: lock}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock the folder for pins %s: %w", path, err), lock.Close())
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(&HeldError{Path: path, PID: holder(lock)}, lock.Close())
		}
	}
}

// anybody may be the owner of what is only removed.
const anybody = -1

// check refuses a folder that somebody else may write to, or that pins cannot be in.
func check(dir *os.File, uid int) error {
	var where unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &where); err != nil {
		return fmt.Errorf("ask for its file system: %w", err)
	}
	if where.Type != unix.BPF_FS_MAGIC {
		return errors.New("it is not in a BPF file system: mount one at /sys/fs/bpf, or choose a folder of one")
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &s); err != nil {
		return fmt.Errorf("ask for its owner: %w", err)
	}
	if uid != anybody && int(s.Uid) != uid {
		return fmt.Errorf("it belongs to user %d and not to %d, as whom this agent runs: remove it (spoor unpin), or choose another", s.Uid, uid)
	}
	if s.Mode&0o077 != 0 {
		return fmt.Errorf("its mode is %04o: others must have no access (chmod 0700)", s.Mode&0o7777)
	}
	return nil
}

// holder asks /proc/locks who has the lock on the folder.
func holder(dir *os.File) int {
	var s unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &s); err != nil {
		return 0
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	return findHolder(string(locks), fmt.Sprintf("%02x:%02x:%d", unix.Major(s.Dev), unix.Minor(s.Dev), s.Ino))
}

// findHolder looks for the pid in lines like "1: FLOCK  ADVISORY  WRITE 708 00:1a:3 0 EOF".
func findHolder(locks, file string) int {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(f[4], "%d", &pid); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}

// Path is where the folder is.
func (d *Directory) Path() string { return d.path }

// Sweep removes what earlier agents left of sensors that this one did without.
func (d *Directory) Sweep() error {
	if d == nil {
		return nil
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("read the folder for pins: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(d.sensors, e.Name()) {
			if err := os.RemoveAll(filepath.Join(d.path, e.Name())); err != nil {
				return fmt.Errorf("remove the pins of a sensor that is not used: %w", err)
			}
		}
	}
	return nil
}

// Close gives the folder to the next agent, with all that is pinned in it.
func (d *Directory) Close() error {
	if d == nil {
		return nil
	}
	var err error
	if d.agent != nil {
		err = d.agent.close()
	}
	return errors.Join(err, d.lock.Close())
}

// Remove takes everything out of the kernel that no process has open, and the folder with it. Close must follow.
func (d *Directory) Remove() error {
	if d == nil {
		return nil
	}
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("remove the pins: %w", err)
	}
	return nil
}

// Remove takes out of the kernel what agents left below path. It reports false when there was nothing.
func Remove(path string) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	d, err := take(path, 0, anybody)
	if err != nil {
		return false, err
	}
	return true, errors.Join(d.Remove(), d.Close())
}
