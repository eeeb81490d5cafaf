// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// version is part of every layout. Count it up when something changes its meaning and keeps its shape.
const version = 1

// layout names a map by what makes it usable for another version of the programs.
type layout struct {
	name string
	// Hash of its kind and of the types of what is in it.
	types string
	// Its size.
	entries uint32
}

const mapPrefix = "map-"

// file is the name of its pin. The BPF file system allows no dots.
func (l layout) file() string {
	return mapPrefix + strings.ReplaceAll(l.name, ".", "_") + "-" + l.types + "-" + strconv.FormatUint(uint64(l.entries), 10)
}

// parseLayout takes the name of a pin apart; the dots of the map's name stay underscores.
func parseLayout(file string) (layout, bool) {
	parts := strings.Split(strings.TrimPrefix(file, mapPrefix), "-")
	if !strings.HasPrefix(file, mapPrefix) || len(parts) != 3 {
		return layout{}, false
	}
	entries, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil {
		return layout{}, false
	}
	return layout{name: parts[0], types: parts[1], entries: uint32(entries)}, true
}

// layoutOf describes the map of spec. records are the types that go through a ring, of which the map itself says nothing.
func layoutOf(name string, spec *ebpf.MapSpec, records []btf.Type) layout {
	h := sha256.New()
	fmt.Fprintf(h, "%d ", version)
	hashMap(h, spec)
	for _, t := range records {
		hashType(h, t, 0)
	}
	return layout{name: name, types: hex.EncodeToString(h.Sum(nil)[:6]), entries: spec.MaxEntries}
}

func hashMap(w io.Writer, spec *ebpf.MapSpec) {
	fmt.Fprintf(w, "map %s %d %d %d\n", spec.Type, spec.KeySize, spec.ValueSize, spec.Flags)
	hashType(w, spec.Key, 0)
	hashType(w, spec.Value, 0)
	if spec.InnerMap != nil {
		hashMap(w, spec.InnerMap)
	}
}

// maxDepth is deeper than any type here is nested; pointers are not followed.
const maxDepth = 32

// hashType writes the shape of a type: two types with the same bytes in the same places under the same names are one.
func hashType(w io.Writer, t btf.Type, depth int) {
	if t == nil || depth > maxDepth {
		fmt.Fprintln(w, "none")
		return
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		hashMembers(w, "struct", t.Name, t.Size, t.Members, depth)
	case *btf.Union:
		hashMembers(w, "union", t.Name, t.Size, t.Members, depth)
	case *btf.Array:
		fmt.Fprintf(w, "array %d\n", t.Nelems)
		hashType(w, t.Type, depth+1)
	case *btf.Int:
		fmt.Fprintf(w, "int %d %d\n", t.Size, t.Encoding)
	case *btf.Enum:
		fmt.Fprintf(w, "enum %d %t\n", t.Size, t.Signed)
	case *btf.Datasec:
		fmt.Fprintf(w, "section %d\n", t.Size)
		for _, v := range t.Vars {
			fmt.Fprintf(w, "%s %d %d\n", v.Type.TypeName(), v.Offset, v.Size)
			hashType(w, v.Type, depth+1)
		}
	case *btf.Var:
		hashType(w, t.Type, depth+1)
	default:
		fmt.Fprintf(w, "%T\n", t)
	}
}

func hashMembers(w io.Writer, kind, name string, size uint32, members []btf.Member, depth int) {
	fmt.Fprintf(w, "%s %s %d\n", kind, name, size)
	for _, m := range members {
		fmt.Fprintf(w, "%s %d %d\n", m.Name, m.Offset, m.BitfieldSize)
		hashType(w, m.Type, depth+1)
	}
}
