// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/cilium/ebpf"
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
	objects bpf.DnsObjects
	set     *pin.Set
	losses  *losses
	link    link.Link
	ring    *ring
	// Answers that are no DNS messages, or end before they say they do.
	malformed uint64
}

// OpenDNS loads the sensor and attaches it where udp is attached, from which it learns whose a socket is.
//
// What is kept in pins, which may be nil, is taken over, and stays for the next agent. An answer that comes while two agents'
// programs are attached is told by both.
func OpenDNS(udp *UDP, pins *pin.Directory) (*DNS, error) {
	spec, err := bpf.LoadDns()
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
	if err := spec.LoadAndAssign(&d.objects, &ebpf.CollectionOptions{MapReplacements: replace}); err != nil {
		return nil, errors.Join(explain("dns", err), set.Close())
	}
	if err := d.begin(udp.root); err != nil {
		return nil, errors.Join(fmt.Errorf("dns sensor: %w", err), d.Close())
	}
	return d, nil
}

func (d *DNS) begin(root string) error {
	var err error
	if d.losses, err = newLosses(d.set, d.objects.Losses, dnsLosses); err != nil {
		return err
	}
	if d.ring, err = openRing(d.objects.Answers); err != nil {
		return err
	}
	d.link, err = link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupInetIngress, Program: d.objects.DnsAnswered})
	if err != nil {
		return fmt.Errorf("attach to cgroup %s: %w", root, err)
	}
	if err := d.set.Keep(ebpf.AttachCGroupInetIngress.String(), d.link); err != nil {
		return err
	}
	if err := d.set.Begin(); err != nil {
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
	losses, err := d.losses.since()
	if err != nil {
		return nil, err
	}
	return append(losses, Loss{Reason: "answer_malformed", Count: d.malformed}), nil
}

// Close releases the sensor; what is not pinned is detached and unloaded.
func (d *DNS) Close() error {
	var errs []error
	if d.link != nil {
		errs = append(errs, d.link.Close())
	}
	if d.ring != nil {
		errs = append(errs, d.ring.close())
	}
	return errors.Join(append(errs, d.losses.close(), d.set.Close(), d.objects.Close())...)
}
