// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/footprint"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// flowKey is what a footprint of peers is kept by.
type flowKey struct {
	who      sensor.Who
	peer     netip.Addr
	netNS    uint32
	port     uint16
	role     sensor.Role
	protocol uint8
}

type flow struct {
	sensor.Flow
	process *process.Process
	// The name by which a caller found the other end, where that is known.
	name string
}

// More ports than this do not help to join the two ends.
const maxClientPorts = 64

func newFlows(size int) (*footprint.Coalescer[flowKey, flow], error) {
	return footprint.New[flowKey](footprint.Options[flow]{
		Size: size, Min: minPause, Max: maxPause,
		Merge: func(into *flow, later flow) {
			into.Last, into.Local = later.Last, later.Local
			into.Opened += later.Opened
			into.Closed += later.Closed
			into.Refused += later.Refused
			into.TimedOut += later.TimedOut
			if later.name != "" {
				into.name = later.name
			}
			into.Sent += later.Sent
			into.Received += later.Received
			for _, p := range later.ClientPorts {
				if len(into.ClientPorts) < maxClientPorts && !slices.Contains(into.ClientPorts, p) {
					into.ClientPorts = append(into.ClientPorts, p)
				}
			}
		},
	})
}

func (a *Agent) addFlow(now time.Time, f *sensor.Flow) {
	p := a.table.Get(f.Who, f.CgroupID)
	p.HasSockets()
	a.flows.Add(now, flowKey{f.Who, f.Peer, f.NetNS, f.Port, f.Role, f.Protocol}, flow{
		Flow: *f, process: p, name: a.nameOf(now, f, p),
	})
}

func (a *Agent) tellFlow(f *flow) {
	transport := spoorv1.Transport_TRANSPORT_UNSPECIFIED
	switch f.Protocol {
	case unix.IPPROTO_TCP:
		transport = spoorv1.Transport_TRANSPORT_TCP
	case unix.IPPROTO_UDP:
		transport = spoorv1.Transport_TRANSPORT_UDP
	}
	when := a.clock.Time(f.Last)
	if f.Role == sensor.Listener {
		listen := func(closed bool) {
			a.add(when, f.process.Proto, f.process.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Listen{Listen: &spoorv1.Listen{
				Transport: transport, NetNs: f.NetNS, Closed: closed,
				Local: &spoorv1.Endpoint{Address: f.Local.String(), Port: uint32(f.Port)},
			}}})
		}
		if f.Opened > 0 {
			listen(false)
		}
		if f.Closed > 0 && f.Closed >= f.Opened {
			listen(true)
		}
		return
	}
	out := &spoorv1.Flow{
		Transport: transport, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, NetNs: f.NetNS,
		Local: &spoorv1.Endpoint{Address: f.Local.String()},
		Peer:  &spoorv1.Endpoint{Address: f.Peer.String(), Port: uint32(f.Port), DnsName: f.name},
		First: timestamppb.New(a.clock.Time(f.First)), Last: timestamppb.New(when),
		Opened: f.Opened, Closed: f.Closed, Refused: f.Refused, TimedOut: f.TimedOut,
		BytesSent: f.Sent, BytesReceived: f.Received,
	}
	if f.Role == sensor.Inbound {
		out.Direction = spoorv1.Direction_DIRECTION_INBOUND
		out.Local.Port, out.Peer.Port = uint32(f.Port), 0
	}
	for _, p := range f.ClientPorts {
		out.ClientPorts = append(out.ClientPorts, uint32(p))
	}
	out.Translations = a.translations.of(&f.Flow)
	a.add(when, f.process.Proto, f.process.Instance, &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: out}})
}

// tell makes events of what is due, of all when the agent stops. What an ended process did is told at once.
func (a *Agent) tell(now time.Time, all bool) {
	urgentWrite := func(k writeKey) bool { return a.ended(k.who) }
	urgentFlow := func(k flowKey) bool { return a.ended(k.who) }
	if all {
		urgentWrite, urgentFlow = nil, nil
	}
	for _, w := range a.writes.Due(now, urgentWrite) {
		if !w.Uncertain { // a read within the tick of a write by somebody else, who is told
			a.tellWrite(&w)
		}
	}
	a.tellAnswers(now, all)
	due := a.dueFlows(now, urgentFlow, all)
	for i := range due {
		a.tellFlow(&due[i])
	}
}

func (a *Agent) ended(who sensor.Who) bool { return a.table.Ended(who) }
