// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// How often the mounts of the host are looked at for new overlays at most.
const overlaysPause = 50 * time.Millisecond

var exactLosses = []lossReason{{name: "ring_full"}}

// ExactNames observes what Names does, by programs on the kernel's own functions: in the context of whoever does it, with
// the paths, inodes and link counts of that moment, on every local file system, and at no cost for reads, writes and opens.
// It takes a kernel that allows fentry programs, and no capability beyond what all sensors need.
type ExactNames struct {
	o          NamesOptions
	collection *ebpf.Collection
	set        *pin.Set
	losses     *losses
	links      []link.Link
	reader     *ringbuf.Reader
	record     ringbuf.Record
	// The directories that overlays prepare things in, and when they were last looked for. mounts is the host's mount table.
	works  map[dirKey]bool
	looked time.Time
	mounts int
}

// dirKey is a directory: s_dev and inode number.
type dirKey struct {
	dev   uint32
	inode uint64
}

// OpenExactNames loads the programs and attaches them. What is kept in pins, which may be nil, is taken over, and stays for the
// next agent.
func OpenExactNames(o NamesOptions, pins *pin.Directory) (*ExactNames, error) {
	n := &ExactNames{o: o, mounts: -1, works: map[dirKey]bool{}}
	if err := n.start(pins); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *ExactNames) start(pins *pin.Directory) error {
	spec, err := bpf.LoadNames()
	if err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	if err := chooseNames(spec); err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	if n.o.RingBytes != 0 {
		spec.Maps[bpf.NamesMapNameRing].MaxEntries = n.o.RingBytes
	}
	if n.set, err = pins.NewSet("names", spec, map[string][]string{bpf.NamesMapNameRing: {"name_record"}}); err != nil {
		return err
	}
	if n.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: n.set.Maps()}); err != nil {
		return explain("names", err)
	}
	if n.losses, err = newLosses(n.set, n.collection.Maps[bpf.NamesMapLosses], exactLosses); err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	if n.reader, err = ringbuf.NewReader(n.collection.Maps[bpf.NamesMapNameRing]); err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	path := fmt.Sprintf("/proc/%d/mountinfo", n.o.HostTgid)
	if n.mounts, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("names sensor: watch the host's mounts: open %s: %w", path, err)
	}
	if err := n.findOverlays(); err != nil {
		return err
	}
	if n.links, err = attach(n.set, n.Programs()...); err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	return nil
}

// Watched reports whether an earlier agent's programs have watched until now, and told what Inherited and Read are to tell.
func (n *ExactNames) Watched() bool { return n.set.Continued() }

// Inherited calls fn for each change in a ring of another size that an earlier agent left. Once, before the first Read.
func (n *ExactNames) Inherited(fn func(*NameChange)) error {
	err := inheritRecords(n.set, n.losses, bpf.NamesMapNameRing, func(b []byte) error { return n.decode(b, fn) })
	if err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	return nil
}

func (n *ExactNames) decode(b []byte, fn func(*NameChange)) error {
	r, err := decodeExactName(b)
	if err != nil {
		return err
	}
	if c, ok := n.change(&r); ok {
		fn(&c)
	}
	return nil
}

var nameFunctions = []function{
	{name: "vfs_link", programs: map[int]string{5: "names_linked", 4: "names_linked_unmapped"}},
	{name: "notify_change", programs: map[int]string{4: "names_attributes", 3: "names_attributes_unmapped"}},
	{name: "vfs_setxattr", programs: map[int]string{6: "names_setxattr", 5: "names_setxattr_unmapped"}},
	{name: "vfs_removexattr", programs: map[int]string{3: "names_removexattr", 2: "names_removexattr_unmapped"}},
	// Kernels before 6.2 lack these: there, access lists are extended attributes.
	{name: "vfs_set_acl", programs: map[int]string{0: "", 4: "names_set_acl"}},
	{name: "vfs_remove_acl", programs: map[int]string{0: "", 3: "names_remove_acl"}},
}

// chooseNames leaves those programs in spec that fit the running kernel's functions.
func chooseNames(spec *ebpf.CollectionSpec) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	for _, f := range nameFunctions {
		chosen, err := f.choose(kernel)
		if err != nil {
			return err
		}
		for _, program := range f.programs {
			if program != chosen {
				delete(spec.Programs, program)
			}
		}
	}
	return nil
}

// Enter is for sensors that need to know of mount namespaces.
func (n *ExactNames) Enter(uint32, uint32) {}

// Read calls fn for each change that happened until now, in order. fn must not keep the change.
func (n *ExactNames) Read(fn func(*NameChange)) error {
	if err := n.lookForOverlays(); err != nil {
		return err
	}
	n.reader.SetDeadline(time.Unix(0, 0))
	for {
		err := n.reader.ReadInto(&n.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("read changes of names: %w", err)
		}
		if err := n.decode(n.record.RawSample, fn); err != nil {
			return err
		}
	}
}

// change is what a record means to those who are no overlay. An overlay puts things together in a directory of its own and
// renames them into its upper directory; a whiteout, put there, removes what a lower layer has.
func (n *ExactNames) change(r *exactName) (NameChange, bool) {
	c := r.NameChange
	from, to := n.works[dirKey{c.Inode.Dev, r.dir}], n.works[dirKey{c.Inode.Dev, r.targetDir}]
	if c.Op == NameRemoved && c.Directory {
		delete(n.works, dirKey{c.Inode.Dev, c.Inode.Number})
	}
	switch {
	case !from && !to:
		return c, true
	case c.Target == "": // within the directory
		return c, false
	case from && to:
		return c, false
	case to: // taken away, to be removed there
		c.Op, c.Target, c.TargetCut = NameRemoved, "", false
		c.Last = c.Directory || r.links <= 1
	case r.whiteout && r.exchanged: // the other record tells what went
		return c, false
	case r.whiteout:
		c.Op, c.Path, c.PathCut, c.Target, c.TargetCut = NameRemoved, c.Target, c.TargetCut, "", false
		c.Inode = Inode{Dev: c.Inode.Dev}
	default:
		c.Op, c.Path, c.PathCut, c.Target, c.TargetCut = NameCreated, c.Target, c.TargetCut, "", false
	}
	return c, true
}

// lookForOverlays looks at the host's mounts when they changed.
func (n *ExactNames) lookForOverlays() error {
	fds := []unix.PollFd{pollFor(n.mounts, unix.POLLPRI)}
	if time.Since(n.looked) < overlaysPause {
		return nil
	}
	if _, err := unix.Poll(fds, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("names sensor: poll the host's mounts: %w", err)
	}
	if fds[0].Revents == 0 {
		return nil
	}
	return n.findOverlays()
}

// findOverlays remembers where overlays put together what they then move into their upper directory. What is known stays: an
// overlay may be unmounted before its last records are read.
func (n *ExactNames) findOverlays() error {
	n.looked = time.Now()
	mounts, err := n.o.Mounts(n.o.HostTgid)
	if err != nil {
		return fmt.Errorf("names sensor: %w", err)
	}
	devs := map[uint64]uint32{}
	for _, m := range mounts {
		devs[m.ID] = m.Dev
	}
	for _, m := range mounts {
		if m.WorkDir == "" {
			continue
		}
		// The overlay makes a directory of this name in the one that it was given (ovl_workdir_create).
		path := fmt.Sprintf("/proc/%d/root%s", n.o.HostTgid, filepath.Join("/", m.WorkDir, "work"))
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, unix.STATX_INO|unix.STATX_MNT_ID, &st)
		if err != nil { // it is mounted read-only, or gone
			continue
		}
		dev := unix.Mkdev(st.Dev_major, st.Dev_minor)
		key := dirKey{unix.Major(dev)<<20 | unix.Minor(dev), st.Ino}
		if sb, ok := devs[st.Mnt_id]; ok { // btrfs gives each subvolume a number, and the file system another one
			key.dev = sb
		}
		n.works[key] = true
	}
	return nil
}

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (n *ExactNames) Losses() ([]Loss, error) {
	all, err := n.losses.since()
	if err != nil {
		return nil, fmt.Errorf("names sensor: %w", err)
	}
	return addPreempted(all, n.Programs()...)
}

// LostBy returns, and forgets, how many of the changes that the ring had no room for were those of each cgroup.
func (n *ExactNames) LostBy() (map[uint64]uint64, error) {
	return takeLostBy("names", n.collection.Maps[bpf.NamesMapLostBy])
}

// Programs returns what is loaded, for measuring.
func (n *ExactNames) Programs() []*ebpf.Program {
	return slices.Collect(maps.Values(n.collection.Programs))
}

// Close releases the sensor; what is not pinned is detached and unloaded.
func (n *ExactNames) Close() error {
	errs := []error{closeLinks(n.links)}
	if n.losses != nil {
		errs = append(errs, n.losses.close())
	}
	if n.set != nil {
		errs = append(errs, n.set.Close())
	}
	if n.reader != nil {
		errs = append(errs, n.reader.Close())
	}
	if n.mounts >= 0 {
		errs = append(errs, unix.Close(n.mounts))
	}
	if n.collection != nil {
		n.collection.Close()
	}
	return errors.Join(errs...)
}

// fsTypeOf makes a string of a NUL-terminated array.
func fsTypeOf(b []int8) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c)) //nolint:gosec // a character
	}
	return s.String()
}
