// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	gomaps "maps"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

var udpLosses = []lossReason{{name: "map_full"}, {name: "storage_memory"}}

// UDP observes who talks to whom by datagrams. Its facts are read through the Socket that it was opened with.
type UDP struct {
	objects bpf.UdpObjects
	set     *pin.Set
	losses  *losses
	links   []link.Link
	root    string // the cgroup v2 directory whose sockets are observed
	// Value of the kernel side's counter at the last full sweep.
	connects uint64
}

// OpenUDP loads the sensor and attaches it to the cgroup v2 directory root, for all processes below.
//
// What is kept in pins, which may be nil, is taken over, and stays for the next agent. While two agents' programs are attached
// both may run for a datagram: the socket's storage, which they share, ends the second there.
func OpenUDP(socket *Socket, root string, pins *pin.Directory) (*UDP, error) {
	spec, err := bpf.LoadUdp()
	if err != nil {
		return nil, fmt.Errorf("udp sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("udp sensor: %w", err)
	}
	set, err := pins.NewSet("udp", spec, nil, bpf.UdpMapFacts)
	if err != nil {
		return nil, err
	}
	u := &UDP{set: set, root: root}
	maps := map[string]*ebpf.Map{bpf.UdpMapFacts: socket.objects.Facts}
	gomaps.Copy(maps, set.Maps())
	err = spec.LoadAndAssign(&u.objects, &ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return nil, errors.Join(explain("udp", err), set.Close())
	}
	if u.losses, err = newLosses(set, u.objects.Losses, udpLosses); err != nil {
		return nil, errors.Join(fmt.Errorf("udp sensor: %w", err), u.Close())
	}
	o := &u.objects
	for _, p := range []struct {
		program *ebpf.Program
		hook    ebpf.AttachType
	}{
		{o.UdpConnect4, ebpf.AttachCGroupInet4Connect},
		{o.UdpConnect6, ebpf.AttachCGroupInet6Connect},
		{o.UdpSendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
		{o.UdpSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
		{o.UdpRecvmsg4, ebpf.AttachCGroupUDP4Recvmsg},
		{o.UdpRecvmsg6, ebpf.AttachCGroupUDP6Recvmsg},
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: p.hook, Program: p.program})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach %s to cgroup %s: %w", p.hook, root, err), u.Close())
		}
		u.links = append(u.links, l)
		if err := set.Keep(p.hook.String(), l); err != nil {
			return nil, errors.Join(err, u.Close())
		}
	}
	if err := set.Begin(); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	for _, r := range set.Retired() {
		if err := r.Drop(); err != nil {
			return nil, errors.Join(fmt.Errorf("udp sensor: %w", err), u.Close())
		}
	}
	socket.datagrams = o.Touched
	return u, nil
}

// Answered adds the connected sockets that got a datagram since they were connected to the facts. Unless all is set, it
// looks only if a socket was connected since it last did.
func (u *UDP) Answered(all bool) error {
	var connects uint64
	if err := u.objects.Connects.Get(&connects); err != nil {
		return fmt.Errorf("look at connected sockets: %w", err)
	}
	if connects == u.connects && !all {
		return nil
	}
	u.connects = connects
	if err := iterate(u.objects.UdpAnswered, u.objects.Talkers, silent); err != nil {
		return fmt.Errorf("look at connected sockets: %w", err)
	}
	return nil
}

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (u *UDP) Losses() ([]Loss, error) { return u.losses.since() }

// LostBy returns, and forgets, how many of the facts that found the map full were those of each cgroup.
func (u *UDP) LostBy() (map[uint64]uint64, error) { return takeLostBy("udp", u.objects.LostBy) }

// Close releases the sensor; what is not pinned is detached and unloaded.
func (u *UDP) Close() error {
	return errors.Join(closeLinks(u.links), u.losses.close(), u.set.Close(), u.objects.Close())
}
