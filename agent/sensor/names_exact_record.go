// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/bpf"
)

// Flags of name_record (bpf/names.bpf.c).
const (
	exactCut       = 1 << 0
	exactTargetCut = 1 << 1
	exactNone      = 1 << 2
	exactExchanged = 1 << 3
	exactWhiteout  = 1 << 4
)

// exactName is a record of the kernel side.
type exactName struct {
	NameChange
	// Inode numbers of the directories that have the name and the target.
	dir, targetDir uint64
	// Names that are left, counting those that the change made.
	links               uint32
	exchanged, whiteout bool
}

// decodeExactName decodes one record of name_ring. It trusts no length and no operation in it.
func decodeExactName(b []byte) (exactName, error) {
	var r bpf.NamesNameRecord
	head, err := binary.Decode(b, binary.NativeEndian, &r)
	if err != nil {
		return exactName{}, fmt.Errorf("name record of %d bytes: %w", len(b), err)
	}
	room := len(b) - head - textHead
	if room < 0 || uint64(r.PathBytes)+uint64(r.TargetBytes) > uint64(room) {
		return exactName{}, fmt.Errorf("name record of %d bytes: paths of %d and %d do not fit", len(b), r.PathBytes, r.TargetBytes)
	}
	op := NameOp(r.Op)
	if op < NameCreated || op > AttributesChanged {
		return exactName{}, fmt.Errorf("name record of %d bytes: there is no operation %d", len(b), r.Op)
	}
	text := b[head+textHead:]
	directory := r.Mode&unix.S_IFMT == unix.S_IFDIR
	n := exactName{
		NameChange: NameChange{
			Op: op, Directory: directory, Regular: r.Mode&unix.S_IFMT == unix.S_IFREG, Last: op == NameRemoved && (directory || r.Links == 0),
			Who:  Who{StartBoottime: r.Who.StartBoottime, Tgid: r.Who.Tgid, ExecCount: r.Who.ExecCount},
			Tgid: r.Who.Tgid, CgroupID: r.CgroupId, MntNS: r.MntNs, After: r.Time, Before: r.Time,
			Inode: Inode{Number: r.Inode, Dev: r.Dev, Generation: r.Generation}, FSType: fsTypeOf(r.FsType[:]),
			PathCut: r.Flags&exactCut != 0, TargetCut: r.Flags&exactTargetCut != 0,
		},
		dir: r.Dir, targetDir: r.TargetDir, links: r.Links,
		exchanged: r.Flags&exactExchanged != 0, whiteout: r.Flags&exactWhiteout != 0,
	}
	if r.Flags&exactNone == 0 {
		n.Path = joinComponents(text[:r.PathBytes])
	}
	if op == NameLinked || op == NameRenamed {
		n.Target = joinComponents(text[r.PathBytes : r.PathBytes+r.TargetBytes])
	}
	return n, nil
}
