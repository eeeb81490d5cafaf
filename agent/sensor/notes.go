// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

const (
	// noteRoom is how many files may have notes: as many as the tier with the most room watches.
	noteRoom = readbackRoom
	// NoteBytes is how long a note may be.
	NoteBytes = 1022
)

type note struct {
	Bytes uint16
	Text  [NoteBytes]byte
}

// Notes are what an agent knows of files, kept in the kernel for the next one, however this one ends: some bytes for each inode. They
// are in a map that no program looks at. A nil *Notes keeps nothing.
type Notes struct {
	set *pin.Set
	all *ebpf.Map
}

// OpenNotes finds what an earlier agent noted; nil where nothing is kept.
func OpenNotes(pins *pin.Directory) (*Notes, error) {
	if pins == nil {
		return nil, nil //nolint:nilnil // nothing is kept, and that is no error
	}
	set, err := pins.NewSet("notes", &ebpf.CollectionSpec{}, nil)
	if err != nil {
		return nil, err
	}
	n := &Notes{set: set}
	n.all, err = set.Map("notes", &ebpf.MapSpec{
		Name: "notes", Type: ebpf.Hash, KeySize: uint32(binary.Size(bpf.ReadbackReadbackFile{})), ValueSize: uint32(binary.Size(note{})), //nolint:gosec // of fixed size
		MaxEntries: noteRoom, Flags: unix.BPF_F_NO_PREALLOC, // room for what is there
	})
	if err == nil {
		err = set.Begin()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("notes of files: %w", err), n.Close())
	}
	for _, r := range set.Retired() { // of another layout: nobody knows what it says
		if err := r.Drop(); err != nil {
			return nil, errors.Join(fmt.Errorf("notes of files: %w", err), n.Close())
		}
	}
	return n, nil
}

// Put notes b, of at most NoteBytes, of a file, in place of what was noted before.
func (n *Notes) Put(i Inode, b []byte) error {
	if n == nil {
		return nil
	}
	if len(b) > NoteBytes {
		return fmt.Errorf("note of a file: %d bytes are more than %d", len(b), NoteBytes)
	}
	value := note{Bytes: uint16(len(b))} //nolint:gosec // at most NoteBytes
	copy(value.Text[:], b)
	if err := n.all.Put(kernelFile(i), value); err != nil {
		return fmt.Errorf("note of a file: %w", err)
	}
	return nil
}

// Delete ends what was noted of a file.
func (n *Notes) Delete(i Inode) error {
	if n == nil {
		return nil
	}
	if err := n.all.Delete(kernelFile(i)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("note of a file: %w", err)
	}
	return nil
}

// Read calls fn for each note, in no order. fn must not keep the bytes.
func (n *Notes) Read(fn func(Inode, []byte)) error {
	if n == nil {
		return nil
	}
	var key bpf.ReadbackReadbackFile
	var value note
	all := n.all.Iterate()
	for all.Next(&key, &value) {
		fn(Inode{Number: key.Inode, Dev: key.Dev, Generation: key.Generation}, value.Text[:min(int(value.Bytes), NoteBytes)])
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("read the notes of files: %w", err)
	}
	return nil
}

// Close releases the notes. They stay for the next agent.
func (n *Notes) Close() error {
	if n == nil {
		return nil
	}
	errs := []error{n.set.Close()}
	if n.all != nil {
		errs = append(errs, n.all.Close())
	}
	return errors.Join(errs...)
}
