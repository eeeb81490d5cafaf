// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// presence is a pinned map by which the next agent learns until when this one was there. Writing to it is a store to
// mapped memory.
type presence struct {
	m        *ebpf.Map
	memory   *ebpf.Memory
	previous uint64
}

const (
	presenceName  = "map-presence-1-1"
	presenceBytes = 64 // room for more; what is not used is 0
)

func openPresence(path string) (*presence, error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		m, err = ebpf.NewMap(&ebpf.MapSpec{
			Name: "presence", Type: ebpf.Array, KeySize: 4, ValueSize: presenceBytes, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE,
		})
		if err == nil {
			if err = m.Pin(path); err != nil {
				err = errors.Join(err, m.Close())
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the presence of agents: %w", err)
	}
	p := &presence{m: m}
	if p.memory, err = m.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("map the presence of agents: %w", err), m.Close())
	}
	var b [8]byte
	if _, err := p.memory.ReadAt(b[:], 0); err != nil {
		return nil, errors.Join(fmt.Errorf("read the presence of agents: %w", err), m.Close())
	}
	p.previous = binary.NativeEndian.Uint64(b[:])
	return p, nil
}

func (p *presence) close() error { return p.m.Close() }

// Previous returns until when the previous agent was there, in nanoseconds since boot; 0 when there was none.
func (d *Directory) Previous() uint64 {
	if d == nil {
		return 0
	}
	return d.agent.previous
}

// Present tells the next agent that this one is there now, in nanoseconds since boot.
func (d *Directory) Present(now uint64) error {
	if d == nil {
		return nil
	}
	if _, err := d.agent.memory.WriteAt(binary.NativeEndian.AppendUint64(nil, now), 0); err != nil {
		return fmt.Errorf("write the presence of this agent: %w", err)
	}
	return nil
}
