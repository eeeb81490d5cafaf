// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// Answer is what one DNS server said to one question.
type Answer struct {
	// Whose socket got it.
	Who      Who
	CgroupID uint64
	NetNS    uint32
	// Nanoseconds since boot.
	Time   uint64
	Server netip.Addr
	Message
}

var dnsLosses = []lossReason{
	{name: "ring_full"},
	{name: "answer_cut"},
	{name: "unknown_owner"},
	{name: "answer_unreadable"},
}

// DNS observes the answers of DNS servers.
type DNS struct {
	collection *ebpf.Collection
	set        *pin.Set
	losses     *losses
	links      []link.Link
	ring       *ring
	// Answers that are no DNS messages, or end before they say they do.
	malformed uint64
}

// The programs of the full tier: where processes receive datagrams. Kernels before 5.19 give the functions an argument more, and have the base tier.
var dnsFunctions = []function{
	{name: "udp_recvmsg", programs: map[int]string{5: "dns_received4"}},
	{name: "udpv6_recvmsg", programs: map[int]string{5: "dns_received6"}},
}

// dnsPacket is the program of the base tier, at each packet.
const dnsPacket = "dns_answered"

// OpenDNS loads the sensor and attaches it: full at the functions by which processes receive datagrams, else where udp is attached, from
// which it learns in both cases whose a socket is.
//
// What is kept in pins, which may be nil, is taken over, and stays for the next agent. An answer that comes while two agents'
// programs are attached is told by both.
func OpenDNS(udp *UDP, full bool, pins *pin.Directory) (*DNS, error) {
	spec, err := bpf.LoadDns()
	if err == nil {
		err = chooseDNS(spec, full)
	}
	if err != nil {
		return nil, fmt.Errorf("dns sensor: %w", err)
	}
	set, err := pins.NewSet("dns", spec, map[string][]string{bpf.DnsMapAnswers: {"answer_record"}}, bpf.DnsMapTalkers)
	if err != nil {
		return nil, err
	}
	d := &DNS{set: set}
	replace := map[string]*ebpf.Map{bpf.DnsMapTalkers: udp.objects.Talkers}
	maps.Copy(replace, set.Maps())
	if d.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace}); err != nil {
		return nil, errors.Join(explain("dns", err), set.Close())
	}
	if err := d.begin(udp.root); err != nil {
		return nil, errors.Join(fmt.Errorf("dns sensor: %w", err), d.Close())
	}
	return d, nil
}

// chooseDNS leaves in spec the programs of one tier.
func chooseDNS(spec *ebpf.CollectionSpec, full bool) error {
	if !full {
		maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != dnsPacket })
		return nil
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	for _, f := range dnsFunctions {
		if _, err := f.choose(kernel); err != nil {
			return err
		}
	}
	delete(spec.Programs, dnsPacket)
	return nil
}

func (d *DNS) begin(root string) error {
	var err error
	if d.losses, err = newLosses(d.set, d.collection.Maps[bpf.DnsMapLosses], dnsLosses); err != nil {
		return err
	}
	if d.ring, err = openRing(d.collection.Maps[bpf.DnsMapAnswers]); err != nil {
		return err
	}
	if d.links, err = d.attach(root); err != nil {
		return err
	}
	for _, r := range d.set.Retired() {
		drop := r.Drop
		if r.Name == bpf.DnsMapAnswers {
			drop = func() error { return d.losses.countRing(r) }
		}
		if err := drop(); err != nil {
			return err
		}
	}
	return nil
}

func (d *DNS) attach(root string) ([]link.Link, error) {
	p := d.collection.Programs[dnsPacket]
	if p == nil {
		return attach(d.set, slices.Collect(maps.Values(d.collection.Programs))...)
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupInetIngress, Program: p})
	if err != nil {
		return nil, fmt.Errorf("attach to cgroup %s: %w", root, err)
	}
	if err := d.set.Keep(ebpf.AttachCGroupInetIngress.String(), l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := d.set.Begin(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return []link.Link{l}, nil
}

// Read calls fn for each answer since the last reading, in order. fn must not keep the Answer.
func (d *DNS) Read(fn func(*Answer)) error {
	defer func() { d.ring.release(d.ring.read) }()
	for {
		b, ok := d.ring.next()
		if !ok {
			return nil
		}
		a, message, err := decodeAnswer(b)
		if err != nil {
			return err
		}
		if a.Message, err = parseMessage(message); err != nil {
			d.malformed++ // anybody may send anything
			continue
		}
		fn(&a)
	}
}

// decodeAnswer decodes one record of the ring; the message is yet to be parsed. It trusts no length in it.
func decodeAnswer(b []byte) (Answer, []byte, error) {
	var r bpf.DnsAnswerRecord
	n, err := binary.Decode(b, binary.NativeEndian, &r)
	if err != nil {
		return Answer{}, nil, fmt.Errorf("DNS answer record of %d bytes: %w", len(b), err)
	}
	if uint64(r.Bytes) > uint64(len(b)-n) { //nolint:gosec // not negative: decoded from there
		return Answer{}, nil, fmt.Errorf("DNS answer record of %d bytes: message of %d does not fit", len(b), r.Bytes)
	}
	return Answer{
		Who:      Who{StartBoottime: r.Who.StartBoottime, Tgid: r.Who.Tgid, ExecCount: r.Who.ExecCount},
		CgroupID: r.CgroupId, NetNS: r.NetNs, Time: r.Time, Server: netip.AddrFrom16(r.Server).Unmap(),
	}, b[n : n+int(r.Bytes)], nil
}

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (d *DNS) Losses() ([]Loss, error) {
	all, err := d.losses.since()
	if err != nil {
		return nil, err
	}
	all = append(all, Loss{Reason: "answer_malformed", Count: d.malformed})
	if d.collection.Programs[dnsPacket] != nil {
		return all, nil
	}
	return addPreempted(all, slices.Collect(maps.Values(d.collection.Programs))...)
}

// Close releases the sensor; what is not pinned is detached and unloaded.
func (d *DNS) Close() error {
	errs := []error{closeLinks(d.links)}
	if d.ring != nil {
		errs = append(errs, d.ring.close())
	}
	d.collection.Close()
	return errors.Join(append(errs, d.losses.close(), d.set.Close())...)
}
