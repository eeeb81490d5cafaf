// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How many instances that hold one connection are told of: each of them is paired with each.
const maxUnixHolders = 16

// unixEnd is one socket, and one process of each instance that has it open.
type unixEnd struct {
	sensor.UnixSocket
	holders []*process.Process
}

// joint is what joins two instances.
type joint struct {
	name     string
	inode    sensor.Inode
	one, two string // instance ids
}

// joints keeps what was told of Unix sockets that join instances.
type joints struct {
	unix *sensor.Unix
	told reminder[joint]
	strangers
	listening listening
	// Instances that hold a connection beside maxUnixHolders others.
	crowded uint64
}

// openUnix does without the sensor where the kernel has no place for it, and says so.
func (a *Agent) openUnix() error {
	c := &spoorv1.Coverage{Sensor: "unix", Tier: "base", Reason: "sees Unix sockets that listen, and those that join two instances while both have them open, every " +
		a.o.UnixInterval.String() + "; that raw, packet and SCTP sockets are open; not shorter connections, nor datagrams that are sent without connecting"}
	a.coverage = append(a.coverage, c)
	if a.without(c) {
		return nil
	}
	unix, err := sensor.OpenUnix()
	if err != nil {
		c.Tier, c.Reason = "off", "Unix sockets are not seen: "+err.Error()
		return nil
	}
	a.joints = &joints{unix: unix, told: newReminder[joint](rememberedShares)}
	return nil
}

// tellJoints looks at all Unix sockets, and tells of those that listen and of connections whose ends belong to more than one
// instance: from the side of each. A socket that one instance was given by another joins them, too.
func (a *Agent) tellJoints(now time.Time) error {
	if a.joints == nil {
		return nil
	}
	ends := map[uint64]*unixEnd{}
	err := a.joints.unix.Read(func(s *sensor.UnixSocket) {
		if s.Who.Tgid == 0 || a.joints.strangers.isNew(s.Who, a.table.Knows(s.Who)) {
			return
		}
		p := a.table.Get(s.Who, s.CgroupID)
		a.table.Moved(p, s.CgroupID)
		if s.Listening || s.Family != unix.AF_UNIX {
			a.joints.listening.add(s, p)
			return
		}
		end := ends[s.Socket]
		if end == nil {
			end = &unixEnd{UnixSocket: *s}
			ends[s.Socket] = end
		}
		end.holders = a.joints.hold(end.holders, p)
	})
	if err != nil {
		return err
	}
	a.joints.strangers.turn()
	a.tellListening(now)
	for _, end := range ends {
		a.tellJoint(now, end, ends[end.Peer])
	}
	return nil
}

// hold adds a process to those who have something, one of each instance.
func (j *joints) hold(holders []*process.Process, p *process.Process) []*process.Process {
	switch {
	case slices.ContainsFunc(holders, func(h *process.Process) bool { return h.Instance == p.Instance }):
	case len(holders) == maxUnixHolders:
		j.crowded++
	default:
		holders = append(holders, p)
	}
	return holders
}

// tellJoint tells of a socket and the one at its other end, which nobody has open any more, or not yet, when it is nil.
func (a *Agent) tellJoint(now time.Time, end, peer *unixEnd) {
	named, holders := end, end.holders
	if peer != nil {
		if peer.Peer == end.Socket && peer.Socket < end.Socket { // two streams see each other: once is enough
			return
		}
		if end.Name == "" {
			named = peer
		}
		for _, p := range peer.holders {
			holders = a.joints.hold(holders, p)
		}
	}
	var file *spoorv1.File
	for _, one := range holders {
		for _, two := range holders {
			if one.Instance == two.Instance || two.Instance.Pending() || !a.joints.due(now, named, one, two) { // the next look finds it named
				continue
			}
			if file == nil {
				file = a.socketFile(&named.UnixSocket)
			}
			a.add(now, one.Proto, one.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Share{Share: &spoorv1.Share{
				Kind: spoorv1.Share_KIND_SOCKET, File: file,
				Other: two.Instance.Proto().GetWorkload(), OtherExecId: two.Proto.GetExecId(), OtherInstance: two.Instance.Proto().GetId(),
			}}})
		}
	}
}

// due says whether a joint of two instances is to be told (again).
func (j *joints) due(now time.Time, named *unixEnd, one, two *process.Process) bool {
	return j.told.due(now, joint{named.Name, named.Inode, one.Instance.Proto().GetId(), two.Instance.Proto().GetId()})
}

// socketFile tells what a socket is bound to: a file, as its process sees it, or a name that begins with "@". Of sockets without a
// name the path is empty.
func (a *Agent) socketFile(s *sensor.UnixSocket) *spoorv1.File {
	f := &spoorv1.File{}
	path := s.Name
	if s.Inode.Number != 0 {
		place := a.storage.Locate(s.MntNS, s.Who.Tgid, s.Inode.Dev, s.Path)
		f.Dev, f.Inode, f.Generation = s.Inode.Dev, s.Inode.Number, s.Inode.Generation
		f.FsType, f.StorageClass = place.FSType, place.Class
		if place.Path != "" && !s.PathCut {
			path = place.Path
		}
		if place.HostPath != path && !s.PathCut {
			f.HostPath, _ = exact(place.HostPath)
		}
	}
	f.Path, f.PathRaw = exact(path)
	return f
}
