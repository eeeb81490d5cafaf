// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/spoor/spoor/bpf"
)

// UnixSocket is a Unix socket that a process has open: one that has a peer, that listens, or that takes datagrams from anybody.
type UnixSocket struct {
	Who      Who
	CgroupID uint64
	// Of the process.
	MntNS uint32
	// Of the socket.
	NetNS uint32
	// Tell sockets apart within one walk. Peer is 0 for one that is not connected itself.
	Socket, Peer uint64
	// SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
	Type      uint8
	Listening bool
	// A packet, raw or SCTP socket, where Family is not AF_UNIX: where it is bound, and (SCTP) the port that it listens on. Nothing below.
	Family   uint8
	Protocol uint16
	Local    netip.Addr
	Port     uint16
	// The name that it was bound to: a path as the process gave it, which may be relative, or an abstract name that begins
	// with "@" here. An accepted socket has its listener's; a client has none, most often.
	Name string
	// The file of that name: zero for an abstract one.
	Inode Inode
	// Its path within its file system; PathCut says that it lacks its beginning.
	Path    string
	PathCut bool
}

// Unix walks the Unix sockets of all processes.
type Unix struct{ objects bpf.UnixObjects }

// OpenUnix loads the sensor.
func OpenUnix() (*Unix, error) {
	spec, err := bpf.LoadUnix()
	if err != nil {
		return nil, fmt.Errorf("unix sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("unix sensor: %w", err)
	}
	u := &Unix{}
	if err := spec.LoadAndAssign(&u.objects, nil); err != nil {
		return nil, explain("unix", err)
	}
	return u, nil
}

// Read calls fn for each descriptor of such a socket that there is now. fn must not keep the UnixSocket.
func (u *Unix) Read(fn func(*UnixSocket)) error {
	err := iterate(u.objects.UnixHeld, nil, func(r io.Reader) error {
		head := make([]byte, binary.Size(bpf.UnixUnixRecord{}))
		var texts []byte
		for {
			if _, err := io.ReadFull(r, head); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			s, name, path, err := decodeUnixSocket(head)
			if err != nil {
				return err
			}
			texts = slices.Grow(texts[:0], name+path)[:name+path]
			if _, err := io.ReadFull(r, texts); err != nil {
				return fmt.Errorf("name of %d bytes and path of %d: %w", name, path, err)
			}
			s.Name = boundName(texts[:name])
			if path > 0 {
				s.Path = joinComponents(texts[name:])
			}
			fn(&s)
		}
	})
	if err != nil {
		return fmt.Errorf("read Unix sockets: %w", err)
	}
	return nil
}

// UNIX_CUT and UNIX_LISTENS in bpf/unix.bpf.c.
const (
	unixCut     = 1 << 0
	unixListens = 1 << 1
)

// decodeUnixSocket decodes a record, and returns how many bytes of name and path follow it.
func decodeUnixSocket(b []byte) (s UnixSocket, name, path int, err error) {
	var r bpf.UnixUnixRecord
	if _, err := binary.Decode(b, binary.NativeEndian, &r); err != nil {
		return UnixSocket{}, 0, 0, fmt.Errorf("unix socket record of %d bytes: %w", len(b), err)
	}
	return UnixSocket{
		Who:      Who{StartBoottime: r.Who.StartBoottime, Tgid: r.Who.Tgid, ExecCount: r.Who.ExecCount},
		CgroupID: r.CgroupId, MntNS: r.MntNs, NetNS: r.NetNs, Socket: r.Socket, Peer: r.Peer, Type: r.Type, PathCut: r.Flags&unixCut != 0,
		Listening: r.Flags&unixListens != 0,
		Family:    r.Family, Protocol: r.Protocol, Local: netip.AddrFrom16(r.Local).Unmap(), Port: r.Port,
		Inode: Inode{Number: r.Inode, Dev: r.Dev, Generation: r.Generation},
	}, int(r.NameBytes), int(r.PathBytes), nil
}

// boundName takes a name as bind(2) got it. An abstract one is all of its bytes, a path is those up to its NUL.
func boundName(b []byte) string {
	if len(b) > 0 && b[0] == 0 {
		return "@" + string(b[1:])
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// Close unloads.
func (u *Unix) Close() error { return u.objects.Close() }
