// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// Reading is a file that was opened, or read, by a cgroup that did not write it.
type Reading struct {
	Inode Inode
	// Who did it first, and in which cgroup and mount namespace. Of a sensor that knows the thread group alone: only Tgid.
	Who      Who
	Tgid     uint32
	CgroupID uint64
	MntNS    uint32
	// Nanoseconds since boot.
	First, Last uint64
	// How often it was opened, as far as that is counted.
	Opens uint32
}

const (
	// What was opened for writing is known to be written, or forgotten, after this time. The agent reads facts twice a second.
	candidateAge = 10 * time.Second
	// Of the room in the kernel's map the agent takes half; see bpf/readback.bpf.c.
	readbackRoom = 8192
)

var readbackLosses = []lossReason{{name: "files_full"}, {name: "readings_full"}}

// Readback observes every open of a file that Watch named, or that was opened for writing just now. Opens by the cgroup that
// wrote it end in the kernel, after one look-up, as do those of all other files.
type Readback struct {
	objects bpf.ReadbackObjects
	set     *pin.Set
	losses  *losses
	links   []link.Link
	// Of the kernel's counters what was seen already.
	touched, added uint64
	// Files that found no room: whoever opens many for writing fills the kernel's map.
	crowded uint64
	swept   time.Time
	keys    []bpf.ReadbackReadbackKey
	facts   []bpf.ReadbackReadbackFact
	files   []bpf.ReadbackReadbackFile
	writers []bpf.ReadbackReadbackWriter
}

// OpenReadback loads the sensor. It takes a kernel that allows fentry programs.
//
// What is kept in pins, which may be nil, is taken over, and stays for the next agent. A file that is opened while two agents' programs are
// attached counts as opened twice.
func OpenReadback(pins *pin.Directory) (*Readback, error) {
	spec, err := bpf.LoadReadback()
	if err != nil {
		return nil, fmt.Errorf("read-back sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("read-back sensor: %w", err)
	}
	r := &Readback{
		keys: make([]bpf.ReadbackReadbackKey, batchSize), facts: make([]bpf.ReadbackReadbackFact, batchSize),
		files: make([]bpf.ReadbackReadbackFile, batchSize), writers: make([]bpf.ReadbackReadbackWriter, batchSize),
	}
	if r.set, err = pins.NewSet("readback", spec, nil); err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&r.objects, &ebpf.CollectionOptions{MapReplacements: r.set.Maps()}); err != nil {
		return nil, errors.Join(explain("read-back", err), r.set.Close())
	}
	if err := r.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("read-back sensor: %w", err), r.Close())
	}
	return r, nil
}

func (r *Readback) begin() error {
	var err error
	if r.losses, err = newLosses(r.set, r.objects.Losses, readbackLosses); err != nil {
		return err
	}
	if r.links, err = attach(r.set, r.objects.ReadbackOpen); err != nil {
		return err
	}
	for _, old := range r.set.Retired() {
		drop := old.Drop
		if old.Name == bpf.ReadbackMapReadings {
			drop = func() error { return r.losses.count(old) }
		}
		if err := drop(); err != nil {
			return err
		}
	}
	return nil
}

// Watched reports whether an earlier agent's programs have watched until now, for what it named and for what was opened for writing since.
func (r *Readback) Watched() bool { return r.set.Continued() }

// Keep forgets what an earlier agent named, unless wanted.
func (r *Readback) Keep(wanted func(Inode) bool) error {
	return r.scan(func(f *bpf.ReadbackReadbackFile, w *bpf.ReadbackReadbackWriter) bool {
		return w.Opened != 0 || wanted(Inode{Number: f.Inode, Dev: f.Dev, Generation: f.Generation})
	})
}

// Room is how many files may be watched at once.
func (r *Readback) Room() int { return readbackRoom }

// Watch names a file and the cgroup that wrote it last.
func (r *Readback) Watch(f *WatchedFile) error {
	value := bpf.ReadbackReadbackWriter{CgroupId: f.CgroupID}
	switch err := r.objects.Written.Put(kernelFile(f.Inode), value); {
	case errors.Is(err, unix.E2BIG):
		r.crowded++
	case err != nil:
		return fmt.Errorf("watch for readings of a file: %w", err)
	}
	return nil
}

// Forget ends Watch.
func (r *Readback) Forget(i Inode) error {
	err := r.objects.Written.Delete(kernelFile(i))
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("watch no more for readings of a file: %w", err)
	}
	return nil
}

func kernelFile(i Inode) bpf.ReadbackReadbackFile {
	return bpf.ReadbackReadbackFile{Inode: i.Number, Dev: i.Dev, Generation: i.Generation}
}

// Read calls fn for what was read since it was last called. fn must not keep the Reading.
func (r *Readback) Read(fn func(*Reading)) error {
	if err := r.sweep(time.Now()); err != nil {
		return err
	}
	var touched uint64
	if err := r.objects.Touched.Get(&touched); err != nil {
		return fmt.Errorf("read-back sensor: %w", err)
	}
	if touched == r.touched {
		return nil
	}
	r.touched = touched
	var cursor ebpf.MapBatchCursor
	for {
		n, err := r.objects.Readings.BatchLookupAndDelete(&cursor, r.keys, r.facts, nil)
		for i := range n {
			k, f := &r.keys[i], &r.facts[i]
			fn(&Reading{
				Inode: Inode{Number: k.File.Inode, Dev: k.File.Dev, Generation: k.File.Generation},
				Who:   Who{StartBoottime: f.Who.StartBoottime, Tgid: f.Who.Tgid, ExecCount: f.Who.ExecCount}, Tgid: f.Who.Tgid,
				CgroupID: k.CgroupId, MntNS: f.MntNs, First: f.First, Last: f.Last, Opens: f.Opens,
			})
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read-back sensor: read: %w", err)
		}
	}
}

// sweep takes out what was opened for writing and is not known to have been written.
func (r *Readback) sweep(now time.Time) error {
	if now.Sub(r.swept) < candidateAge {
		return nil
	}
	r.swept = now
	var added uint64
	if err := r.objects.Added.Get(&added); err != nil {
		return fmt.Errorf("read-back sensor: %w", err)
	}
	if added == r.added {
		return nil
	}
	young := false
	before := bootNow() - uint64(candidateAge)
	err := r.scan(func(_ *bpf.ReadbackReadbackFile, w *bpf.ReadbackReadbackWriter) bool {
		young = young || w.Opened >= before
		return w.Opened == 0 || w.Opened >= before
	})
	if err != nil {
		return err
	}
	if !young { // or they are looked at again
		r.added = added
	}
	return nil
}

// scan forgets the files that keep is against.
func (r *Readback) scan(keep func(*bpf.ReadbackReadbackFile, *bpf.ReadbackReadbackWriter) bool) error {
	var old []bpf.ReadbackReadbackFile
	var cursor ebpf.MapBatchCursor
	for done := false; !done; {
		n, err := r.objects.Written.BatchLookup(&cursor, r.files, r.writers, nil)
		if done = errors.Is(err, ebpf.ErrKeyNotExist); err != nil && !done {
			return fmt.Errorf("read-back sensor: look for files to forget: %w", err)
		}
		for i := range n {
			if !keep(&r.files[i], &r.writers[i]) {
				old = append(old, r.files[i])
			}
		}
	}
	for _, f := range old {
		if err := r.objects.Written.Delete(f); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read-back sensor: forget a file: %w", err)
		}
	}
	return nil
}

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (r *Readback) Losses() ([]Loss, error) {
	all, err := r.losses.since()
	if err != nil {
		return nil, fmt.Errorf("read-back sensor: %w", err)
	}
	return addPreempted(append(all, Loss{Reason: "unwatched", Count: r.crowded}), r.objects.ReadbackOpen)
}

// Programs returns what is loaded, for measuring.
func (r *Readback) Programs() []*ebpf.Program { return []*ebpf.Program{r.objects.ReadbackOpen} }

// Close releases the sensor; what is not pinned is detached and unloaded.
func (r *Readback) Close() error {
	return errors.Join(closeLinks(r.links), r.losses.close(), r.set.Close(), r.objects.Close())
}

// WatchedFile is a file whose readings are wanted.
type WatchedFile struct {
	Inode Inode
	// The cgroup that wrote it last.
	CgroupID uint64
	// A path to it for the agent itself, below /proc/PID/root; "" when none is known.
	Path string
}

var errNoPath = errors.New("no path to it is known")

// sameFile says whether a descriptor is of an inode.
func sameFile(fd int, number uint64) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Ino == number && st.Nlink > 0
}

// Revive is for sensors that leave files alone now and then.
func (r *Readback) Revive() {}
