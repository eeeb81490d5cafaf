// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// Role says which end of a connection a process is. The numbers are those of enum in bpf/socket.bpf.c.
type Role uint8

// The roles.
const (
	Outbound Role = iota + 1
	Inbound
	Listener
)

// Flow sums up the connections between one process and one peer since the last reading, or what happened to a listener.
type Flow struct {
	Who  Who
	Role Role
	// IPPROTO_*
	Protocol uint8
	NetNS    uint32
	CgroupID uint64
	// The other end; of a Listener the address that it is bound to. IPv4-mapped addresses are unmapped.
	Peer netip.Addr
	// This end, of the latest connection.
	Local netip.Addr
	// The listening port, whichever end that is.
	Port uint16
	// Nanoseconds since boot.
	First, Last                       uint64
	Opened, Closed, Refused, TimedOut uint32
	// Payload bytes of the connections that closed.
	Sent, Received uint64
	// A sample of the clients' ports, the same at both ends.
	ClientPorts []uint16
}

var socketLosses = []lossReason{
	{name: "map_full"},
	{name: "connections_full"},
	{name: "unknown_owner"},
	{name: "listeners_full"},
}

// Socket observes TCP, and holds the facts of UDP.
type Socket struct {
	objects bpf.SocketObjects
	links   []link.Link
	set     *pin.Set
	losses  *losses
	facts   *facts[bpf.SocketFlowKey, bpf.SocketFlowFact]
	touched uint64
	// The kernel side has atomics: then its programs leave the beginning of a connection to its end, and those that live on are looked at
	// for it, and not before then again.
	atomics bool
	look    time.Time
	// What earlier agents' programs had rescued.
	rescuedBefore uint64
	// The counter of the UDP sensor, which fills the same facts; nil without one.
	datagrams *ebpf.Variable
}

// OpenSocket loads and attaches the sensor. entries bounds the facts between two readings; 0 takes the default. What is kept
// in pins, which may be nil, is taken over, and stays for the next agent.
func OpenSocket(entries uint32, pins *pin.Directory) (*Socket, error) {
	spec, err := bpf.LoadSocket()
	if err != nil {
		return nil, fmt.Errorf("socket sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("socket sensor: %w", err)
	}
	atomics, err := chooseAtomics(spec)
	if err != nil {
		return nil, fmt.Errorf("socket sensor: %w", err)
	}
	set, err := pins.NewSet("socket", spec, nil)
	if err != nil {
		return nil, err
	}
	s := &Socket{set: set, atomics: atomics}
	if err := load(set, spec, &s.objects); err != nil {
		return nil, errors.Join(explain("socket", err), set.Close())
	}
	if s.losses, err = newLosses(set, s.objects.Losses, socketLosses); err != nil {
		return nil, errors.Join(fmt.Errorf("socket sensor: %w", err), s.Close())
	}
	s.facts, err = newFacts[bpf.SocketFlowKey, bpf.SocketFlowFact](set, s.objects.Facts, spec.Maps[bpf.SocketMapFacts], entries)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket sensor: %w", err), s.Close())
	}
	programs := []*ebpf.Program{s.objects.SocketState}
	if !kernel.HoldsInterrupts() {
		programs = append(programs, s.objects.SocketStateAgain)
	}
	if s.links, err = attach(set, programs...); err != nil {
		return nil, errors.Join(fmt.Errorf("socket sensor: %w", err), s.Close())
	}
	if err := s.facts.inherit(set.Retired(), s.losses); err != nil {
		return nil, errors.Join(fmt.Errorf("socket sensor: %w", err), s.Close())
	}
	if err := s.objects.Rescued.Get(&s.rescuedBefore); err != nil {
		return nil, errors.Join(fmt.Errorf("socket sensor: %w", err), s.Close())
	}
	return s, nil
}

// chooseAtomics says to the kernel side whether it can exchange values: then sockets have places that are taken by that, and the beginning and
// the end of a short connection are told in one fact, since it can agree with the agent's look at those that live on about who tells it.
func chooseAtomics(spec *ebpf.CollectionSpec) (bool, error) {
	if kernel.Atomics() == nil {
		return true, spec.Variables["atomics"].Set(true)
	}
	spec.Programs["socket_opened"].Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			if in := &p.Instructions[i]; in.OpCode.Class() == asm.StXClass && in.OpCode.Mode() == asm.AtomicMode && in.OpCode.AtomicOp() != asm.AddAtomic {
				*in = asm.Mov.Imm(asm.R0, 0).WithMetadata(in.Metadata) // never reached, and refused all the same
			}
		}
	}
	return false, nil
}

// lookFor bounds the part of the time that looks at all connections take: after one that took 1 ms there is none for 200 ms. That is the
// processor's time: on a machine that is busy a look that takes 1 ms may end much later, and none would follow until the bytes are read.
const lookFor = 200

// lookAtLiving tells of connections that began since the last look, and live on.
func (s *Socket) lookAtLiving() error {
	if !s.atomics || time.Now().Before(s.look) {
		return nil
	}
	var waiting int64
	if err := s.objects.Waiting.Get(&waiting); err != nil {
		return err
	}
	if waiting <= 0 {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var begin, end unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &begin), s.tellLiving(), unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &end)); err != nil {
		return err
	}
	s.look = time.Now().Add(lookFor * time.Duration(end.Nano()-begin.Nano()))
	return nil
}

// tellLiving tells of all connections that are there and whose beginning nobody has told.
func (s *Socket) tellLiving() error {
	if err := s.overOwners(s.objects.SocketOpened); err != nil {
		return fmt.Errorf("look at the connections that live on: %w", err)
	}
	return nil
}

// overOwners runs an iterator over all owners of sockets.
func (s *Socket) overOwners(p *ebpf.Program) error {
	for _, m := range []*ebpf.Map{s.objects.Places, s.objects.Owners} {
		if err := iterate(p, m, silent); err != nil {
			return err
		}
	}
	return nil
}

// Adopt gives every TCP socket that is older than the sensor to the first process that has it open. The next Read tells
// of them: of listeners as opened, of connections with nothing opened or closed. Nothing is to be done where an earlier
// agent did, and its programs have watched since.
func (s *Socket) Adopt() error {
	if s.set.Adopted(bpf.SocketMapOwners) {
		var last uint32
		if err := s.objects.Adopting.Get(&last); err != nil {
			return fmt.Errorf("adopt sockets: %w", err)
		}
		if last == adopted {
			return nil
		}
	}
	// A connection is an accepted one when something listens on its port: listeners first.
	for _, walk := range []uint32{1, 2} {
		if err := s.objects.Adopting.Set(walk); err != nil {
			return fmt.Errorf("adopt sockets: %w", err)
		}
		if err := iterate(s.objects.SocketAdopt, nil, silent); err != nil {
			return fmt.Errorf("adopt sockets: %w", err)
		}
	}
	if err := s.objects.Adopting.Set(uint32(adopted)); err != nil {
		return fmt.Errorf("adopt sockets: %w", err)
	}
	return nil
}

// adopted follows the numbers of the two walks: both were made.
const adopted = 3

// CountBytes adds what went over the connections that live on to their facts.
func (s *Socket) CountBytes() error {
	if s.atomics { // also those that an earlier agent's programs did not count as waiting
		if err := s.tellLiving(); err != nil {
			return err
		}
	}
	if err := s.overOwners(s.objects.SocketBytes); err != nil {
		return fmt.Errorf("count the bytes of live connections: %w", err)
	}
	return nil
}

// Exchange ends the current interval, as File.Exchange does.
func (s *Socket) Exchange() (bool, error) {
	if err := s.lookAtLiving(); err != nil {
		return false, fmt.Errorf("socket sensor: %w", err)
	}
	var touched uint64
	if err := s.objects.Touched.Get(&touched); err != nil {
		return false, fmt.Errorf("socket sensor: %w", err)
	}
	if s.datagrams != nil {
		var n uint64
		if err := s.datagrams.Get(&n); err != nil {
			return false, fmt.Errorf("udp sensor: %w", err)
		}
		touched += n
	}
	if touched == s.touched && s.facts.settled {
		return false, nil
	}
	s.touched = touched
	if _, err := s.facts.exchange(); err != nil {
		return false, fmt.Errorf("socket sensor: %w", err)
	}
	return true, nil
}

// Read calls fn for each fact of the interval that Exchange ended. fn must not keep the Flow.
func (s *Socket) Read(fn func(*Flow)) error {
	return s.facts.drain(func(k *bpf.SocketFlowKey, v *bpf.SocketFlowFact) {
		fn(&Flow{
			Who:  Who{StartBoottime: k.Who.StartBoottime, Tgid: k.Who.Tgid, ExecCount: k.Who.ExecCount},
			Role: Role(k.Role), Protocol: k.Protocol, NetNS: k.NetNs, CgroupID: v.CgroupId,
			Peer: netip.AddrFrom16(k.Peer).Unmap(), Local: netip.AddrFrom16(v.Local).Unmap(), Port: k.Port,
			First: v.First, Last: v.Last, Opened: v.Opened, Closed: v.Closed, Refused: v.Refused, TimedOut: v.TimedOut,
			Sent: v.Sent, Received: v.Received, ClientPorts: clientPorts(v.Sample[:]),
		})
	})
}

// clientPorts takes the ports out of the sample (hash << 16 | port, all ones when empty).
func clientPorts(sample []uint32) []uint16 {
	var ports []uint16
	for _, s := range sample {
		if s != ^uint32(0) {
			ports = append(ports, uint16(s)) //nolint:gosec // the low half is the port
		}
	}
	return ports
}

// LostBy returns, and forgets, how many of the facts that found the map full were those of each cgroup.
func (s *Socket) LostBy() (map[uint64]uint64, error) { return takeLostBy("socket", s.objects.LostBy) }

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (s *Socket) Losses() ([]Loss, error) {
	all, err := s.losses.since()
	if err != nil {
		return nil, err
	}
	// What the first program was kept from, but for what the second one did then.
	var rescued uint64
	if err := s.objects.Rescued.Get(&rescued); err != nil {
		return nil, fmt.Errorf("socket sensor: %w", err)
	}
	n, err := skipped(s.objects.SocketState)
	if err != nil {
		return nil, err
	}
	return append(all, Loss{Reason: preempted, Count: n - min(n, rescued-s.rescuedBefore)}), nil
}

// Programs returns what is loaded, for measuring.
func (s *Socket) Programs() []*ebpf.Program {
	return []*ebpf.Program{s.objects.SocketState, s.objects.SocketStateAgain}
}

// Close releases the sensor; what is not pinned is detached and unloaded.
func (s *Socket) Close() error {
	errs := []error{closeLinks(s.links), s.losses.close(), s.set.Close()}
	if s.facts != nil {
		errs = append(errs, s.facts.close())
	}
	return errors.Join(append(errs, s.objects.Close())...)
}
