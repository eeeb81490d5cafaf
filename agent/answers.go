// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/footprint"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// What one event names at most: more help nobody to know what was asked for.
const (
	maxToldAddresses = 64
	maxToldTypes     = 16
)

// answerKey is what answers are summed up by.
type answerKey struct {
	who   sensor.Who
	netNS uint32
	name  string
}

// answered is what a process was told of a name.
type answered struct {
	latest      sensor.Answer
	process     *process.Process
	first       uint64
	count       uint32
	addresses   []netip.Addr
	recordTypes []string
}

// answers are the names that were asked for.
type answers struct {
	dns   *sensor.DNS
	names *askedNames
	told  *footprint.Coalescer[answerKey, answered]
}

// openDNS takes the best tier, and does without the sensor where the kernel has no place for it, and says so.
func (a *Agent) openDNS() error {
	c := &spoorv1.Coverage{Sensor: "dns", Tier: "full", Reason: "sees answers over UDP from port 53 to whom asked for them since the " +
		"agent started; not those over TCP, TLS or HTTPS, mDNS, nor questions that nobody answered"}
	a.coverage = append(a.coverage, c)
	if a.without(c) {
		return nil
	}
	if a.udp == nil {
		c.Tier, c.Reason = "off", "names are not seen: it needs the sensor udp"
		return nil
	}
	var dns *sensor.DNS
	why := a.mayFull()
	if why == nil {
		dns, why = sensor.OpenDNS(a.udp, true, a.pins)
	}
	if why != nil {
		c.Tier, c.Reason = "base", c.Reason+"; each packet that comes in is looked at, which the full tier need not do: "+why.Error()
		if dns, why = sensor.OpenDNS(a.udp, false, a.pins); why != nil {
			c.Tier, c.Reason = "off", "names are not seen: "+why.Error()
			return nil
		}
	}
	names, err := newAskedNames(namedAddresses)
	if err != nil {
		return err
	}
	a.answers = &answers{dns: dns, names: names}
	a.answers.told, err = footprint.New[answerKey](footprint.Options[answered]{
		Size: a.o.Footprint, Min: minPause, Max: maxPause, Merge: mergeAnswers,
	})
	return err
}

func mergeAnswers(into *answered, later answered) {
	into.latest = later.latest
	into.count += later.count
	for _, address := range later.addresses {
		if len(into.addresses) < maxToldAddresses && !slices.Contains(into.addresses, address) {
			into.addresses = append(into.addresses, address)
		}
	}
	for _, t := range later.recordTypes {
		if len(into.recordTypes) < maxToldTypes && !slices.Contains(into.recordTypes, t) {
			into.recordTypes = append(into.recordTypes, t)
		}
	}
}

// readAnswers learns the names that were asked for. It comes before the flows of the same interval are read: whoever called an
// address got it first.
func (a *Agent) readAnswers(now time.Time) error {
	if a.answers == nil {
		return nil
	}
	return a.answers.dns.Read(func(answer *sensor.Answer) {
		p := a.table.Get(answer.Who, answer.CgroupID)
		a.answers.names.learn(now, answer.NetNS, p, answer.Name, time.Duration(answer.TTL)*time.Second, answer.Addresses)
		a.answers.told.Add(now, answerKey{answer.Who, answer.NetNS, answer.Name}, answered{
			latest: *answer, process: p, first: answer.Time, count: 1, addresses: answer.Addresses, recordTypes: []string{answer.Type},
		})
	})
}

// nameOf returns the name by which the caller found the other end of a flow.
func (a *Agent) nameOf(now time.Time, f *sensor.Flow, p *process.Process) string {
	if a.answers == nil || f.Role != sensor.Outbound {
		return ""
	}
	return a.answers.names.find(now, f.NetNS, p, f.Peer)
}

// tellAnswers makes events of what is due, of all when the agent stops.
func (a *Agent) tellAnswers(now time.Time, all bool) {
	if a.answers == nil {
		return
	}
	urgent := func(k answerKey) bool { return a.ended(k.who) }
	if all {
		urgent = nil
	}
	for _, v := range a.answers.told.Due(now, urgent) {
		a.tellAnswer(&v)
	}
}

func (a *Agent) tellAnswer(v *answered) {
	when := a.clock.Time(v.latest.Time)
	out := &spoorv1.Dns{
		Name: v.latest.Name, TtlSeconds: v.latest.TTL, ResponseCode: uint32(v.latest.ResponseCode), Count: v.count,
		Types: v.recordTypes, Aliases: v.latest.Aliases, NetNs: v.latest.NetNS,
		Server: &spoorv1.Endpoint{Address: v.latest.Server.String(), Port: dnsPort},
		First:  timestamppb.New(a.clock.Time(v.first)), Last: timestamppb.New(when),
	}
	for _, address := range v.addresses {
		out.Addresses = append(out.Addresses, address.String())
	}
	a.add(when, v.process.Proto, v.process.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Dns{Dns: out}})
}

const dnsPort = 53
