// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/recent"
)

const (
	// From the first event in the queue to its reading: a busy file system costs a bounded number of wake-ups, and events
	// that belong together are there together. The queue holds 16,384 by default (fs.fanotify.max_queued_events).
	namesPause = 10 * time.Millisecond
	// An unlink is two events, and without FAN_RENAME a rename is. They follow each other within microseconds, but whoever
	// does it may lose its processor in between. The second half of a rename is certain to come.
	secondEvent = 5 * time.Millisecond
	secondHalf  = 50 * time.Millisecond
	// Mount tables are not read more often than this.
	mountsPause = 50 * time.Millisecond
	// Changes that nobody fetched yet. When there are so many the queue is left to the kernel, which counts what it drops.
	maxPendingNames = 32768
	maxPendingBytes = 16 << 20 // of their paths
	// Records that are looked at together.
	maxBatch = 4096
	// Directories, files and mount namespaces that are remembered.
	rememberedDirs       = 16384
	rememberedEntries    = 16384
	rememberedLinks      = 1024
	rememberedNamespaces = 4096
	// Bytes of the paths of those directories.
	rememberedDirBytes = 8 << 20
	// Names of one file are made within moments.
	linksAge = time.Minute
	// struct file_handle's of a rename with two names of 255 bytes need less than 1 KiB.
	namesBuffer = 64 << 10
)

// What the names sensor counts.
const (
	namesOverflow = iota
	namesUnreadable
	namesUnmounted
	namesLosses
)

// queue_overflow counts overflows: at least as many events were lost, nobody knows how many.
var namesReasons = [namesLosses]string{"queue_overflow", "name_unreadable", "unmounted"}

// NamesOptions says where a Names finds the host.
type NamesOptions struct {
	// A process that sees the host's file systems, and the inode number of its mount namespace.
	HostTgid, HostNS uint32
	// Mounts returns the mounts that a process sees.
	Mounts func(tgid uint32) ([]Mount, error)
	// Bytes of the ring of ExactNames, a power of two; 0 takes the default in bpf/names.bpf.c.
	RingBytes uint32
	// Plain does without what came with Linux 5.17 (FAN_RENAME, FAN_REPORT_TARGET_FID), as it is on kernels that lack it.
	Plain bool
}

// Names observes directories: what is made, linked, renamed and removed, and whose attributes change. It uses fanotify(7)
// marks on whole file systems. A mark makes each read, write and open on its file system some 3 to 4 ns slower, whatever it
// asks for, and each change of a name 0.4 to 1.5 microseconds. A goroutine of its own reads the events, since they carry no
// time and their directories may soon be gone.
//
// The queue is the kernel's bounded one. An unlimited queue (FAN_UNLIMITED_QUEUE) would lose nothing while the agent is
// stopped, but it is unswappable kernel memory on the agent's account: a process that makes 20,000 files a second would
// have the agent killed for 300 MB within a minute. An overflow is counted instead.
type Names struct {
	o    NamesOptions
	mask uint64
	// Descriptors: the group, an eventfd, and the host's mount table, which tells when it changes.
	fd, stop, mounts int
	done             chan struct{}

	mu        sync.Mutex
	systems   map[uint64]*fileSystem // by fsid
	unwatched map[uint32]string
	denied    bool
	inside    *lru.LRU[uint32, uint32] // a process of each mount namespace
	workDirs  map[string]fileHandle    // of overlays
	works     map[fileHandle]bool
	paths     *recent.Map[fileHandle, dirPath]
	entries   *recent.Map[fileHandle, entry]
	linking   *recent.Map[fileHandle, struct{}]
	last      lastRename
	buf       []byte
	records   []nameRecord
	pending   []NameChange
	bytes     int // of the paths in it
	spare     []NameChange
	losses    [namesLosses]uint64
	// Nanoseconds since boot: when the queue was last found empty, and when what is looked at was read.
	emptied, read uint64
	err           error
}

// OpenNames begins to observe every file system that the host sees, and goes on until Close.
func OpenNames(o NamesOptions) (*Names, error) {
	n := &Names{
		o: o, fd: -1, stop: -1, mounts: -1, done: make(chan struct{}), buf: make([]byte, namesBuffer),
		systems: map[uint64]*fileSystem{}, unwatched: map[uint32]string{}, works: map[fileHandle]bool{},
		paths:   recent.New[fileHandle, dirPath](rememberedDirs, 0).Weighing(rememberedDirBytes, func(_ fileHandle, p dirPath) int { return len(p.path) }),
		entries: recent.New[fileHandle, entry](rememberedEntries, 0),
		linking: recent.New[fileHandle, struct{}](rememberedLinks, linksAge),
	}
	if err := n.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("names sensor: %w", err), n.release())
	}
	go n.run()
	return n, nil
}

func (n *Names) start() error {
	if err := inInitialPidNamespace(); err != nil {
		return err
	}
	var err error
	if n.inside, err = lru.NewLRU[uint32, uint32](rememberedNamespaces, nil); err != nil {
		return err
	}
	if err := n.init(); err != nil {
		return err
	}
	if n.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	path := fmt.Sprintf("/proc/%d/mountinfo", n.o.HostTgid)
	if n.mounts, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("watch the host's mounts: open %s: %w", path, err)
	}
	n.emptied = bootNow()
	if err := n.look(); err != nil {
		return err
	}
	if len(n.systems) == 0 && n.denied {
		return fmt.Errorf("%w, which the agent does not have", errDenied)
	}
	if len(n.systems) == 0 {
		return fmt.Errorf("no file system can be watched: %s", strings.Join(n.Unwatched(), "; "))
	}
	return n.mayAsk()
}

// init makes the fanotify group with the most that the kernel can tell. What it can is found by trying.
func (n *Names) init() error {
	const base = unix.FAN_CLASS_NOTIF | unix.FAN_CLOEXEC | unix.FAN_NONBLOCK | unix.FAN_REPORT_DFID_NAME | unix.FAN_REPORT_FID
	n.mask = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_ATTRIB | unix.FAN_ONDIR
	var err error
	if !n.o.Plain {
		// Both came with 5.17, and to some older kernels together.
		if n.fd, err = unix.FanotifyInit(base|unix.FAN_REPORT_TARGET_FID, unix.O_RDONLY); err == nil {
			n.mask |= unix.FAN_RENAME
			return nil
		}
	}
	n.mask |= unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO
	n.fd, err = unix.FanotifyInit(base, unix.O_RDONLY)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("fanotify cannot report names (a kernel since 5.9 with CONFIG_FANOTIFY is needed): %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("fanotify_init: %w; CAP_SYS_ADMIN is needed", err)
	case err != nil:
		return fmt.Errorf("fanotify_init: %w", err)
	}
	return nil
}

// mayAsk tries whether directories can be found by their handles.
func (n *Names) mayAsk() error {
	for _, fs := range n.systems {
		if n.open(fs) != nil {
			continue
		}
		defer fs.close()
		h := n.leadsTo(fs, fs.through.within(fs.through.Point))
		if h.none() {
			continue
		}
		fd, err := unix.OpenByHandleAt(fs.fd, h.system(), unix.O_PATH|unix.O_CLOEXEC)
		if err != nil {
			return fmt.Errorf("open_by_handle_at: %w; CAP_DAC_READ_SEARCH is needed", err)
		}
		return unix.Close(fd)
	}
	return nil
}

// inInitialPidNamespace: events name processes by the numbers of the agent's pid namespace, the other sensors by those of
// the initial one.
func inInitialPidNamespace() error {
	const initial = 0xEFFFFFFC // PROC_PID_INIT_INO
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return fmt.Errorf("find the agent's pid namespace: %w", err)
	}
	if st.Ino != initial {
		return errors.New("the agent runs in a pid namespace of its own, where events do not name other processes: run it with " +
			"the host's (hostPID: true)")
	}
	return nil
}

func bootNow() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail with a valid clock and pointer
	return uint64(ts.Nano())                        //nolint:gosec // since boot
}

// run reads events and follows the mounts until Close.
func (n *Names) run() {
	defer close(n.done)
	var looked time.Time
	look := false // the mounts changed
	for {
		const stop, mounts, events = 0, 1, 2
		fds := [3]unix.PollFd{
			stop: pollFor(n.stop, unix.POLLIN), mounts: pollFor(n.mounts, unix.POLLPRI), events: pollFor(n.fd, unix.POLLIN),
		}
		wait := -1
		if look {
			wait = int(max(0, time.Until(looked.Add(mountsPause))).Milliseconds()) + 1
			fds[mounts].Fd = -1
		}
		if n.full() { // until somebody fetches what is there
			wait = int(namesPause.Milliseconds())
			fds[events].Fd = -1
		}
		if _, err := unix.Poll(fds[:], wait); err != nil && !errors.Is(err, unix.EINTR) {
			n.fail(fmt.Errorf("names sensor: poll: %w", err))
			return
		}
		if fds[stop].Revents != 0 {
			return
		}
		look = look || fds[mounts].Revents != 0
		if fds[events].Revents != 0 { // stop ends the pause
			if _, err := unix.Poll(fds[:1], int(namesPause.Milliseconds())); err == nil && fds[stop].Revents != 0 {
				return
			}
		}
		due := look && time.Since(looked) >= mountsPause
		if err := n.step(due); err != nil {
			n.fail(err)
			return
		}
		if due {
			look, looked = false, time.Now()
		}
	}
}

func pollFor(fd int, events int16) unix.PollFd {
	return unix.PollFd{Fd: int32(fd), Events: events} //nolint:gosec // descriptors are small
}

// step reads what is there, and looks at the mounts if that is due.
func (n *Names) step(look bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	// First: what happened on a file system that is unmounted by now.
	if err := n.drain(); err != nil || !look {
		return err
	}
	return n.look()
}

func (n *Names) full() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.crowded()
}

func (n *Names) crowded() bool {
	return len(n.pending) >= maxPendingNames || n.bytes >= maxPendingBytes
}

func (n *Names) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// drain empties the queue.
func (n *Names) drain() error {
	for !n.crowded() {
		n.records = buffer.Cut(n.records, 0)
		empty, err := n.fill()
		if err != nil {
			return err
		}
		if empty && n.awaits() > 0 {
			fds := []unix.PollFd{pollFor(n.fd, unix.POLLIN)}
			if _, err := unix.Poll(fds, int(n.awaits().Milliseconds())); err == nil && fds[0].Revents != 0 {
				if empty, err = n.fill(); err != nil {
					return err
				}
			}
		}
		n.read = bootNow()
		n.take(n.records)
		for _, fs := range n.systems {
			fs.close()
		}
		if empty {
			n.emptied = n.read
			return nil
		}
	}
	return nil
}

// awaits returns how long to wait for what belongs to the last record.
func (n *Names) awaits() time.Duration {
	if len(n.records) == 0 {
		return 0
	}
	switch last := &n.records[len(n.records)-1]; {
	case last.mask&unix.FAN_MOVED_FROM != 0:
		return secondHalf
	case last.dir.none():
		return secondEvent
	default:
		return 0
	}
}

// fill reads records until there are none left, or enough.
func (n *Names) fill() (empty bool, err error) {
	for len(n.records) < maxBatch {
		got, err := unix.Read(n.fd, n.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return true, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("names sensor: read events: %w", err)
		}
		if err := decodeNames(n.buf[:got], func(r *nameRecord) { n.records = append(n.records, *r) }); err != nil {
			return false, fmt.Errorf("names sensor: %w", err)
		}
	}
	return false, nil
}

// Read calls fn for each change that happened until now, in order. fn must not keep the change, nor call the sensor.
func (n *Names) Read(fn func(*NameChange)) error {
	n.mu.Lock()
	err := n.err
	if err == nil {
		err = n.drain()
	}
	taken := n.pending
	n.pending, n.spare, n.bytes = n.spare[:0], nil, 0
	n.mu.Unlock()
	for i := range taken {
		fn(&taken[i])
	}
	taken = buffer.Cut(taken, 0) // it holds paths
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spare = taken
	return err
}

// Losses returns what was lost since the sensor was opened.
func (n *Names) Losses() ([]Loss, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Loss
	for i, reason := range namesReasons {
		out = append(out, Loss{Reason: reason, Count: n.losses[i]})
	}
	return out, nil
}

// Watched returns the types of the file systems that are observed.
func (n *Names) Watched() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var types []string
	for _, fs := range n.systems {
		types = append(types, fs.fsType)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Unwatched names the local file systems that cannot be observed, with the reason.
func (n *Names) Unwatched() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, why := range n.unwatched {
		all = append(all, why)
	}
	slices.Sort(all)
	return all
}

// Renames says whether the kernel tells old and new name of a rename together, and what a name leads to.
func (n *Names) Renames() bool { return n.mask&unix.FAN_RENAME != 0 }

// Close stops observing.
func (n *Names) Close() error {
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1} // any number but 0
	if _, err := unix.Write(n.stop, one[:]); err != nil {
		return fmt.Errorf("names sensor: stop: %w", err)
	}
	<-n.done
	return n.release()
}

func (n *Names) release() error {
	var errs []error
	for _, fd := range []int{n.fd, n.stop, n.mounts} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
