// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spoor/spoor/agent/nat"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// As many translations of a flow are told: enough to name a service with so many replicas.
	maxTranslations = 16
	// How long a flow waits for the next reading of the table.
	natPatience = 2 * time.Second
)

// translations finds out where flows went that this node's address translation changed.
type translations struct {
	table  *nat.Table
	read   time.Time
	late   []lateFlow // calls that are later than the table
	failed uint64
}

// lateFlow is one that waits for a table that may know of it.
type lateFlow struct {
	flow
	until time.Time
}

// openNAT does without where the agent may not ask, and says so.
func (a *Agent) openNAT() {
	c := &spoorv1.Coverage{Sensor: "nat", Tier: "base", Reason: "sees translations of the agent's own network namespace: of the node's where the agent " +
		"is in the host's network"}
	a.coverage = append(a.coverage, c)
	if a.without(c) {
		return
	}
	table, err := nat.Open()
	if err != nil {
		c.Tier, c.Reason = "off", "translations of addresses are not seen: "+err.Error()
		return
	}
	a.translations = &translations{table: table}
}

// refresh reads what is new. That it fails now and then is counted: the flows go without.
func (t *translations) refresh(now time.Time) {
	done, err := t.table.Refresh(now)
	if err != nil {
		t.failed++
	}
	if done {
		t.read = now
	}
}

// dueFlows returns the flows to tell: those that are due, but for calls since the table was read, which wait for the next reading, and
// those that waited for this one. all: nothing waits any longer.
func (a *Agent) dueFlows(now time.Time, urgent func(flowKey) bool, all bool) []flow {
	var due []flow
	for _, f := range a.flows.Due(now, urgent) {
		due = append(due, f)
	}
	t := a.translations
	if t == nil {
		return due
	}
	fresh := func(f *flow) bool {
		return f.Role != sensor.Outbound || len(f.ClientPorts) == 0 || f.Peer.IsLoopback() || f.process.Instance.Elsewhere() ||
			a.clock.Time(f.Last).Before(t.read) || len(t.of(&f.Flow)) > 0
	}
	for _, f := range due {
		t.late = append(t.late, lateFlow{f, now.Add(natPatience)})
	}
	if slices.ContainsFunc(t.late, func(l lateFlow) bool { return !fresh(&l.flow) }) {
		t.refresh(now)
	}
	var out []flow
	t.late = slices.DeleteFunc(t.late, func(l lateFlow) bool {
		ready := all || fresh(&l.flow) || now.After(l.until)
		if ready {
			out = append(out, l.flow)
		}
		return ready
	})
	return out
}

// of returns what the other ends of a flow see of it.
func (t *translations) of(f *sensor.Flow) []*spoorv1.Translation {
	if t == nil || f.Role != sensor.Outbound {
		return nil
	}
	var out []*spoorv1.Translation
	var servers []netip.AddrPort
	for _, p := range f.ClientPorts {
		to, ok := t.table.Of(nat.Connection{Protocol: f.Protocol, Client: netip.AddrPortFrom(f.Local, p), Server: netip.AddrPortFrom(f.Peer, f.Port)})
		// Where the client is left as it is, one connection to each server is enough: the ports are known.
		same := to.Client == netip.AddrPortFrom(f.Local, p)
		if !ok || same && slices.Contains(servers, to.Server) {
			continue
		}
		servers = append(servers, to.Server)
		out = append(out, &spoorv1.Translation{Server: endpoint(to.Server), Client: endpoint(to.Client)})
		if len(out) == maxTranslations {
			break
		}
	}
	return out
}

func endpoint(a netip.AddrPort) *spoorv1.Endpoint {
	return &spoorv1.Endpoint{Address: a.Addr().String(), Port: uint32(a.Port())}
}
