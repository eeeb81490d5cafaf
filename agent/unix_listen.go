// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// maxUnixListeners is how many listening sockets that a walk finds are followed to their end. What comes beyond is counted.
const maxUnixListeners = 8192

// maxUnixAddress is the longest address, in bytes, that is told.
const maxUnixAddress = 1 << 10

// unixListener is a listening socket in the hands of one instance. The kernel's address of a socket tells it apart as long as
// it lives, and its name from the next one there.
type unixListener struct {
	socket   uint64
	name     string
	instance string
}

// listener is what was told of one.
type listener struct {
	process *process.Process
	listen  *spoorv1.Listen
	// seen in the walk that is going on.
	seen bool
}

// listening knows the sockets that listen, or take whatever comes, of which the kernel tells neither beginning nor end.
type listening struct {
	all     map[unixListener]*listener
	sockets []foundListener
	// Sockets beyond maxUnixListeners.
	full uint64
}

type foundListener struct {
	sensor.UnixSocket
	process *process.Process
}

// add takes a socket that a walk found. A Unix socket that has no name was bound to nothing, and nobody can call it.
func (l *listening) add(s *sensor.UnixSocket, p *process.Process) {
	if s.Name != "" || s.Family != unix.AF_UNIX {
		l.sockets = append(l.sockets, foundListener{*s, p})
	}
}

// tellListening ends a walk: it tells of the listeners that are new, and of those that are gone.
func (a *Agent) tellListening(now time.Time) {
	l := &a.joints.listening
	for i := range l.sockets {
		s := &l.sockets[i]
		if s.process.Instance.Pending() { // the next look finds it named
			continue
		}
		k := unixListener{s.Socket, s.Name, s.process.Instance.Proto().GetId()}
		if known := l.all[k]; known != nil {
			known.seen = true
			continue
		}
		if len(l.all) == maxUnixListeners {
			l.full++
			continue
		}
		if l.all == nil {
			l.all = map[unixListener]*listener{}
		}
		one := &listener{process: s.process, seen: true, listen: a.listenOf(&s.UnixSocket)}
		l.all[k] = one
		a.add(now, one.process.Proto, one.process.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Listen{Listen: one.listen}})
	}
	for k, one := range l.all {
		if one.seen {
			one.seen = false
			continue
		}
		delete(l.all, k)
		closed := proto.CloneOf(one.listen) // the first may still wait to be sent
		closed.Closed = true
		a.add(now, one.process.Proto, one.process.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Listen{Listen: closed}})
	}
	l.sockets = buffer.Cut(l.sockets, 0)
}

// listenOf tells where a socket takes what anybody sends.
func (a *Agent) listenOf(s *sensor.UnixSocket) *spoorv1.Listen {
	l := &spoorv1.Listen{NetNs: s.NetNS, Local: &spoorv1.Endpoint{}}
	switch {
	case s.Family == unix.AF_UNIX:
		l.Transport, l.Local.Address = spoorv1.Transport_TRANSPORT_UNIX, a.unixAddress(s)
	case s.Family == unix.AF_PACKET:
		l.Transport = spoorv1.Transport_TRANSPORT_PACKET
	case s.Protocol == unix.IPPROTO_SCTP && s.Type != unix.SOCK_RAW:
		l.Transport, l.Local.Address, l.Local.Port = spoorv1.Transport_TRANSPORT_SCTP, s.Local.String(), uint32(s.Port)
	default:
		l.Transport, l.Local.Address, l.IpProtocol = spoorv1.Transport_TRANSPORT_RAW, s.Local.String(), uint32(s.Protocol)
	}
	return l
}

// unixAddress is the path of a socket as its process sees it, or an abstract name that begins with "@".
func (a *Agent) unixAddress(s *sensor.UnixSocket) string {
	name := s.Name
	if s.Inode.Number != 0 {
		if path := a.socketFile(s).GetPath(); len(path) <= maxUnixAddress { // or as it was bound, which is at most 108 bytes
			name = path
		}
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}
