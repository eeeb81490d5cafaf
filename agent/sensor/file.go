// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/spoor/spoor/agent/recent"
	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// Inode identifies a file for as long as it exists.
type Inode struct {
	Number uint64
	// Device number as the kernel has it in super_block.s_dev: major << 20 | minor.
	Dev        uint32
	Generation uint32
}

// Write sums up what one process did to one inode since the last reading.
type Write struct {
	Who   Who
	Inode Inode
	// Nanoseconds since boot.
	First, Last uint64
	// Bytes, at the first and the last change. A change that the kernel announces before it is done (tmpfs) leaves
	// SizeAfter behind.
	SizeBefore, SizeAfter uint64
	CgroupID              uint64
	// Jiffies in which a change was seen: a lower bound of the number of writes.
	Changes uint32
	// Links to the inode at the last change.
	Links uint32
	MntNS uint32
	// Content changed, and not just owner, mode or times.
	Data bool
	// Data is proven, by a page that was dirtied or a call that succeeded. Otherwise it is true if ModTime is of the interval.
	Proven bool
	// Nanoseconds of Unix time: the latest modification time that the changes moved the file to, 0 when none did.
	ModTime uint64
	// Only times moved that a read may move, too.
	Uncertain bool
	// Path within the file system, from its root; "" when unknown, for a file without a name or a name that was lost.
	// Any bytes but NUL.
	Path string
	// Path lacks its beginning.
	PathCut bool
}

var fileLosses = []lossReason{{name: "map_full"}, {name: "name_ring_full"}, {name: "writeback", benign: true}}

// How many names are remembered, and bytes of them, in case a later one is lost: with the ring full, of the files that were written last.
const (
	rememberedNames     = 8192
	rememberedNameBytes = 8 << 20
)

// File observes changes of regular files.
type File struct {
	spec       *ebpf.CollectionSpec
	collection *ebpf.Collection
	// Those of the full tier are no part of collection.
	programs []*ebpf.Program
	links    []link.Link
	set      *pin.Set
	// Whether it is the full tier; the file systems whose modules it sees into then, and why it does not see into others.
	full    bool
	modules map[string]bool
	blind   map[string]error
	losses  *losses
	facts   *facts[bpf.FileFileKey, bpf.FileFileFact]
	ring    *ring
	names   *recent.Map[Inode, fileName]
	window  uint32
	touched uint64
	// Up to where the ring has names of nothing but the facts that are read next. Those behind are the next agent's, too.
	named uint64
	// The interval that is read next is an earlier agent's.
	inherited bool
}

type fileName struct {
	path string
	cut  bool
}

// FileOptions sizes the kernel side; zero values take the defaults in bpf/file.bpf.c.
type FileOptions struct {
	// Facts (process, file) between two readings.
	Facts uint32
	// Bytes of the ring of names, a power of two.
	NameRing uint32
	// Full takes programs on the kernel's own functions, too. OpenFile fails where it does not allow them.
	Full bool
	// Where maps and links are kept for the next agent, and taken over from an earlier one; nil keeps nothing.
	Pins *pin.Directory
}

// OpenFile loads and attaches the sensor.
func OpenFile(o FileOptions) (*File, error) {
	spec, err := bpf.LoadFile()
	if err != nil {
		return nil, fmt.Errorf("file sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("file sensor: %w", err)
	}
	if o.NameRing != 0 {
		spec.Maps[bpf.FileMapNameRing].MaxEntries = o.NameRing
	}
	set, err := o.Pins.NewSet("file", spec, map[string][]string{bpf.FileMapNameRing: {"file_name"}})
	if err != nil {
		return nil, err
	}
	f := &File{spec: spec, set: set, modules: map[string]bool{}, blind: map[string]error{}}
	f.names = recent.New[Inode, fileName](rememberedNames, 0).Weighing(rememberedNameBytes, func(_ Inode, n fileName) int { return len(n.path) })
	if err := f.start(&o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *File) start(o *FileOptions) error {
	var err error
	if f.collection, err = ebpf.NewCollectionWithOptions(f.base(), ebpf.CollectionOptions{MapReplacements: f.set.Maps()}); err != nil {
		return explain("file", err)
	}
	if o.Full {
		if f.programs, err = f.loadFull(); err != nil {
			return fmt.Errorf("file sensor: %w", err)
		}
		f.full = true
	}
	if f.losses, err = newLosses(f.set, f.collection.Maps[bpf.FileMapLosses], fileLosses); err != nil {
		return fmt.Errorf("file sensor: %w", err)
	}
	if err := f.collection.Variables[bpf.FileVarWindow].Get(&f.window); err != nil {
		return fmt.Errorf("file sensor: %w", err)
	}
	f.facts, err = newFacts[bpf.FileFileKey, bpf.FileFileFact](f.set, f.collection.Maps[bpf.FileMapFacts], f.spec.Maps[bpf.FileMapFacts], o.Facts)
	if err != nil {
		return fmt.Errorf("file sensor: %w", err)
	}
	if f.ring, err = openRing(f.collection.Maps[bpf.FileMapNameRing]); err != nil {
		return fmt.Errorf("file sensor: %w", err)
	}
	f.named = f.ring.read
	if f.links, err = attach(f.set, f.Programs()...); err != nil {
		return fmt.Errorf("file sensor: %w", err)
	}
	if err := f.inherit(); err != nil {
		return fmt.Errorf("file sensor: %w", err)
	}
	return nil
}

// Exchange ends the current interval: what happened up to now is what the next Read returns. It reports false, and need
// not be followed by Read, when nothing happened.
func (f *File) Exchange() (bool, error) {
	var touched uint64
	if err := f.collection.Variables[bpf.FileVarTouched].Get(&touched); err != nil {
		return false, fmt.Errorf("file sensor: %w", err)
	}
	if touched == f.touched && f.facts.settled {
		return false, nil
	}
	f.touched = touched
	// Before the exchange: what is named later may be of a fact in the map that is put in now.
	named := f.ring.produced()
	inherited, err := f.facts.exchange()
	if err != nil {
		return false, fmt.Errorf("file sensor: %w", err)
	}
	f.inherited = inherited
	if inherited {
		return true, nil
	}
	f.named = named
	// After the exchange: a CPU that remembers the old number then writes its next change into the new map.
	f.window++
	if err := f.collection.Variables[bpf.FileVarWindow].Set(f.window); err != nil {
		return false, fmt.Errorf("file sensor: %w", err)
	}
	return true, nil
}

// Read calls fn for each fact of the interval that Exchange ended. fn must not keep the Write.
func (f *File) Read(fn func(*Write)) error {
	// The names first: each was sent before its fact's map was taken out.
	if err := f.readNames(); err != nil {
		return err
	}
	sizes, err := f.readSizes()
	if err != nil {
		return err
	}
	var w Write
	err = f.facts.drain(func(k *bpf.FileFileKey, v *bpf.FileFileFact) {
		w = Write{
			Who:   Who{StartBoottime: k.Who.StartBoottime, Tgid: k.Who.Tgid, ExecCount: k.Who.ExecCount},
			Inode: Inode{Number: k.Inode, Dev: k.Dev, Generation: k.Generation},
			First: v.First, Last: v.Last, SizeBefore: v.SizeBefore, SizeAfter: v.SizeAfter,
			CgroupID: v.CgroupId, Changes: v.Changes, Links: v.Links, MntNS: v.MntNs,
			Data: v.Flags&fileData != 0, Proven: v.Flags&fileProven != 0, ModTime: v.Mtime, Uncertain: v.Flags&fileUncertain != 0,
		}
		if size, ok := sizes[recentKey{w.Inode.Number, w.Who.Tgid}]; ok {
			w.SizeAfter = size
		}
		if n, ok := f.names.Get(w.Inode); ok {
			w.Path, w.PathCut = n.path, n.cut
		}
		fn(&w)
	})
	if err != nil {
		return err
	}
	f.ring.release(f.named)
	return nil
}

type recentKey struct {
	number uint64
	tgid   uint32
}

// readSizes returns the sizes that the last changes of the interval led to, of the files that are still remembered.
func (f *File) readSizes() (map[recentKey]uint64, error) {
	sizes := map[recentKey]uint64{}
	jiffies := map[recentKey]uint64{}
	var perCPU []bpf.FileRecent
	recent := f.collection.Maps[bpf.FileMapRecent]
	for slot := range recent.MaxEntries() {
		if err := recent.Lookup(slot, &perCPU); err != nil {
			return nil, fmt.Errorf("read the latest sizes: %w", err)
		}
		for _, r := range perCPU {
			k := recentKey{r.Number, r.Tgid}
			// Of an earlier agent's interval it is not known whether its end was told to the kernel side.
			current := r.Window == f.window-1 || f.inherited && r.Window == f.window
			// A file that was changed on two CPUs has the size of the later jiffy.
			if current && r.Jiffy >= jiffies[k] {
				jiffies[k], sizes[k] = r.Jiffy, r.Size
			}
		}
	}
	return sizes, nil
}

func (f *File) readNames() error {
	for {
		record, ok := f.ring.next()
		if !ok {
			return nil
		}
		if err := f.addName(record); err != nil {
			return err
		}
	}
}

func (f *File) addName(record []byte) error {
	inode, name, err := decodeName(record)
	if err != nil {
		return err
	}
	f.names.Put(inode, name)
	return nil
}

// inherit takes what earlier agents left in maps that no program fills any more: the names first, since facts are read later.
func (f *File) inherit() error {
	retired := f.set.Retired()
	rest := retired[:0]
	for _, r := range retired {
		if r.Name != bpf.FileMapNameRing || !r.Known {
			rest = append(rest, r)
		} else if err := readRetired(r, f.addName); err != nil {
			return err
		}
	}
	return f.facts.inherit(rest, f.losses)
}

// decodeName decodes one record of name_ring. It trusts no length in it.
func decodeName(b []byte) (Inode, fileName, error) {
	var r bpf.FileFileName
	n, err := binary.Decode(b, binary.NativeEndian, &r)
	if err != nil {
		return Inode{}, fileName{}, fmt.Errorf("file name record of %d bytes: %w", len(b), err)
	}
	text := b[n:]
	if len(text) < textHead || uint64(r.Bytes) > uint64(len(text)-textHead) { //nolint:gosec // not negative: looked at before
		return Inode{}, fileName{}, fmt.Errorf("file name record of %d bytes: name of %d does not fit", len(b), r.Bytes)
	}
	inode := Inode{Number: r.Inode, Dev: r.Dev, Generation: r.Generation}
	if r.Bytes == 0 {
		return inode, fileName{}, nil
	}
	return inode, fileName{path: joinComponents(text[textHead : textHead+int(r.Bytes)]), cut: r.Flags&fileCut != 0}, nil
}

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (f *File) Losses() ([]Loss, error) {
	all, err := f.losses.since()
	if err != nil {
		return nil, err
	}
	return addPreempted(all, f.Programs()...)
}

// LostBy returns, and forgets, how many of the facts that found the map full were those of each cgroup.
func (f *File) LostBy() (map[uint64]uint64, error) {
	return takeLostBy("file", f.collection.Maps[bpf.FileMapLostBy])
}

// Programs returns what is loaded, for measuring.
func (f *File) Programs() []*ebpf.Program {
	return append([]*ebpf.Program{f.collection.Programs[bpf.FileProgFileDirty]}, f.programs...)
}

// Blind tells of the file systems whose module the full tier cannot see into, and why.
func (f *File) Blind() map[string]error { return f.blind }

// Close releases the sensor; what is not pinned is detached and unloaded.
func (f *File) Close() error {
	errs := []error{closeLinks(f.links), f.losses.close(), f.set.Close()}
	if f.ring != nil {
		errs = append(errs, f.ring.close())
	}
	if f.facts != nil {
		errs = append(errs, f.facts.close())
	}
	for _, p := range f.programs {
		errs = append(errs, p.Close())
	}
	if f.collection != nil {
		f.collection.Close()
	}
	return errors.Join(errs...)
}

// Flags of file_fact and file_name (bpf/file.bpf.c).
const (
	fileData      = 1 << 0
	fileUncertain = 1 << 1
	fileCut       = 1 << 2
	fileProven    = 1 << 4
)
