// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/spoor/spoor/bpf"
)

// Mapping is shared, writable memory that a process has mapped.
type Mapping struct {
	Who      Who
	CgroupID uint64
	// The file of tmpfs that the memory is, inside the kernel.
	Inode Inode
	Bytes uint64
	// Its name: that of POSIX shared memory, memfd:NAME, SYSVKEY, or dev/zero for memory shared across fork. Cut at 63 bytes.
	Name string
}

// Memory walks the mappings of all processes.
type Memory struct{ objects bpf.MemoryObjects }

// OpenMemory loads the sensor. Kernels before 5.13 cannot iterate mappings.
func OpenMemory() (*Memory, error) {
	spec, err := bpf.LoadMemory()
	if err != nil {
		return nil, fmt.Errorf("memory sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("memory sensor: %w", err)
	}
	m := &Memory{}
	if err := spec.LoadAndAssign(&m.objects, nil); err != nil {
		return nil, explain("memory", err)
	}
	return m, nil
}

// Read calls fn for each mapping that there is now. fn must not keep the Mapping.
func (m *Memory) Read(fn func(*Mapping)) error {
	err := iterate(m.objects.MemoryMapped, nil, func(r io.Reader) error {
		buf := make([]byte, binary.Size(bpf.MemoryMappingRecord{}))
		for {
			if _, err := io.ReadFull(r, buf); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			mapping, err := decodeMapping(buf)
			if err != nil {
				return err
			}
			fn(&mapping)
		}
	})
	if err != nil {
		return fmt.Errorf("read shared memory: %w", err)
	}
	return nil
}

func decodeMapping(b []byte) (Mapping, error) {
	var r bpf.MemoryMappingRecord
	if _, err := binary.Decode(b, binary.NativeEndian, &r); err != nil {
		return Mapping{}, fmt.Errorf("mapping record of %d bytes: %w", len(b), err)
	}
	return Mapping{
		Who:      Who{StartBoottime: r.Who.StartBoottime, Tgid: r.Who.Tgid, ExecCount: r.Who.ExecCount},
		CgroupID: r.CgroupId, Inode: Inode{Number: r.Inode, Dev: r.Dev, Generation: r.Generation},
		Bytes: r.Bytes, Name: comm(r.Name[:]),
	}, nil
}

// Close unloads.
func (m *Memory) Close() error { return m.objects.Close() }
