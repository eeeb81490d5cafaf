// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/spoor/spoor/bpf"
)

var udpLosses = []lossReason{{name: "map_full"}, {name: "storage_memory"}}

// UDP observes who talks to whom by datagrams. Its facts are read through the Socket that it was opened with.
type UDP struct {
	objects bpf.UdpObjects
	links   []link.Link
	// Value of the kernel side's counter at the last full sweep.
	connects uint64
}

// OpenUDP loads the sensor and attaches it to the cgroup v2 directory root, for all processes below.
func OpenUDP(socket *Socket, root string) (*UDP, error) {
	spec, err := bpf.LoadUdp()
	if err != nil {
		return nil, fmt.Errorf("udp sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("udp sensor: %w", err)
	}
	u := &UDP{}
	err = spec.LoadAndAssign(&u.objects, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{bpf.UdpMapFacts: socket.objects.Facts},
	})
	if err != nil {
		return nil, explain("udp", err)
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

// Losses returns what was lost since the sensor was opened.
func (u *UDP) Losses() ([]Loss, error) { return readLosses(u.objects.Losses, udpLosses) }

// Close detaches and unloads.
func (u *UDP) Close() error { return errors.Join(closeLinks(u.links), u.objects.Close()) }
