// SPDX-License-Identifier: Apache-2.0

// Package portrait says what is known of a workload: whether it is stateless and how that is known, its attack surface, which of the twelve
// factors can be seen to hold, and what to change first.
//
// It is pure, like package contract, whose rules it asks: every workload is held to a contract that calls it stateless, whatever was agreed.
package portrait

import (
	"fmt"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// News is how long something counts as new.
const News = 7 * 24 * time.Hour

// Bounds of what is remembered; what is more is counted.
const (
	maxWorkloads = 4096
	maxFacts     = 1024 // listeners, callers and calls of one workload, each
	maxInstances = 4096
)

// Portrait is what is known of one workload.
type Portrait struct {
	Workload string `json:"workload"`
	// When it was seen, and in how many instances on how many nodes.
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Instances int       `json:"instances"`
	Nodes     int       `json:"nodes"`
	// "stateless", "keeps state" or "unclear", and how that is known.
	Verdict string   `json:"verdict"`
	Because []string `json:"because"`
	// What speaks against it, the worst first.
	Evidence []Evidence `json:"evidence"`
	// Its attack surface.
	Listeners []Fact `json:"listeners"`
	Callers   []Fact `json:"callers"`
	Calls     []Fact `json:"calls"`
	// The twelve factors that can be observed.
	Factors []Factor `json:"factors"`
	// What to change first, at most three.
	Change []string `json:"change"`
	// The sum of all evidence, by severity: what a fleet is ranked by.
	Weight int `json:"weight"`
}

// Evidence is a verdict that stood at the end.
type Evidence struct {
	Rule     string    `json:"rule"`
	Severity string    `json:"severity"`
	Subject  string    `json:"subject"`
	Title    string    `json:"title"`
	Fix      string    `json:"fix"`
	Since    time.Time `json:"since"`
	weight   int
}

// Fact is a listener, a caller or a call.
type Fact struct {
	// The port and transport, and the other end or, for a listener, who can reach it.
	Who       string    `json:"who"`
	Port      uint32    `json:"port"`
	Transport string    `json:"transport"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	// Seen for the first time within the last week, while the workload was seen before.
	New bool `json:"new,omitzero"`
	// No connection was ever made.
	Failed bool `json:"failed,omitzero"`
}

// Factor is one of the twelve (https://12factor.net), as far as it can be seen.
type Factor struct {
	Number string `json:"number"`
	Name   string `json:"name"`
	// "yes", "no" or "unclear".
	Holds   string `json:"holds"`
	Because string `json:"because"`
}

type factKey struct {
	who       string
	port      uint32
	transport spoorv1.Transport
}

type subject struct {
	id                        *spoorv1.Workload
	first, last               time.Time
	instances, nodes          map[string]bool
	listeners, callers, calls map[factKey]*Fact
	exits, killed             int
	open                      map[string]contract.Verdict
}

// Gallery makes portraits of all workloads from their events. It is not safe for concurrent use.
type Gallery struct {
	judge    *contract.Judge
	subjects map[string]*subject
	ticked   time.Time
	now      time.Time
	dropped  uint64
}

// held is what every workload is held to.
var held = []byte(`apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: stateless}
spec:
  workload: {kind: "*", name: "*"}
  state: stateless
  scratch: [{path: /tmp/**}, {path: /var/tmp}, {path: /dev/shm}]
`)

// New returns an empty gallery.
func New() (*Gallery, error) {
	contracts, err := contract.Parse("stateless", held)
	if err != nil {
		return nil, fmt.Errorf("portraits: %w", err)
	}
	set, err := contract.NewSet(contracts...)
	if err != nil {
		return nil, fmt.Errorf("portraits: %w", err)
	}
	return &Gallery{judge: contract.NewJudge(set), subjects: map[string]*subject{}}, nil
}

// Dropped is how many events were about more workloads or more of one than are remembered.
func (g *Gallery) Dropped() uint64 { return g.dropped }

// Observe takes the next event, in the order in which they were stored.
func (g *Gallery) Observe(ev *spoorv1.Event) {
	if t := ev.GetTime(); t.IsValid() && t.AsTime().After(g.now) {
		g.now = t.AsTime()
	}
	if g.now.Sub(g.ticked) >= time.Second {
		g.ticked = g.now
		g.take(g.judge.Tick(g.now))
	}
	if s := g.subject(ev); s != nil {
		g.note(s, ev)
	}
	g.take(g.judge.Observe(ev))
}

func (g *Gallery) subject(ev *spoorv1.Event) *subject {
	w := ev.GetInstance().GetWorkload()
	switch w.GetKind() {
	case "", "Session", "Host", "Kernel":
		return nil
	}
	name := w.Path()
	s, ok := g.subjects[name]
	if !ok {
		if len(g.subjects) >= maxWorkloads {
			g.dropped++
			return nil
		}
		s = &subject{
			id: w, first: ev.GetTime().AsTime(), instances: map[string]bool{}, nodes: map[string]bool{},
			listeners: map[factKey]*Fact{}, callers: map[factKey]*Fact{}, calls: map[factKey]*Fact{}, open: map[string]contract.Verdict{},
		}
		g.subjects[name] = s
	}
	return s
}

func (g *Gallery) take(verdicts []contract.Verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		s, ok := g.subjects[v.Workload.Path()]
		if !ok {
			continue
		}
		if v.Cleared {
			delete(s.open, v.Fingerprint())
		} else if _, known := s.open[v.Fingerprint()]; !known {
			s.open[v.Fingerprint()] = *v
		}
	}
}

func (g *Gallery) note(s *subject, ev *spoorv1.Event) {
	t := ev.GetTime().AsTime()
	if t.Before(s.first) {
		s.first = t
	}
	if t.After(s.last) {
		s.last = t
	}
	if len(s.instances) < maxInstances {
		s.instances[ev.GetNode()+"/"+ev.GetInstance().GetId()] = true
		s.nodes[ev.GetNode()] = true
	}
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_Listen:
		l := fact.Listen
		if l.GetLocal().GetPort() == 0 { // Unix, raw and packet sockets have none
			return
		}
		reach := "everybody who reaches it"
		if strings.HasPrefix(l.GetLocal().GetAddress(), "127.") || l.GetLocal().GetAddress() == "::1" {
			reach = "its own host or pod"
		}
		g.add(s.listeners, factKey{reach, l.GetLocal().GetPort(), l.GetTransport()}, t, false)
	case *spoorv1.Event_Flow:
		f := fact.Flow
		failed := f.GetOpened() == 0 && f.GetRefused()+f.GetTimedOut() > 0
		switch f.GetDirection() {
		case spoorv1.Direction_DIRECTION_INBOUND:
			g.add(s.callers, factKey{peerName(f.GetPeer()), f.GetLocal().GetPort(), f.GetTransport()}, t, failed)
		case spoorv1.Direction_DIRECTION_OUTBOUND:
			g.add(s.calls, factKey{peerName(f.GetPeer()), f.GetPeer().GetPort(), f.GetTransport()}, t, failed)
		}
	case *spoorv1.Event_ProcessExit:
		s.exits++
		if fact.ProcessExit.GetSignal() == 9 { // SIGKILL
			s.killed++
		}
	}
}

func peerName(e *spoorv1.Endpoint) string {
	switch {
	case e.GetWorkload().GetName() != "":
		return e.GetWorkload().Path()
	case e.GetDnsName() != "":
		return e.GetDnsName()
	default:
		return e.GetAddress()
	}
}

func (g *Gallery) add(to map[factKey]*Fact, k factKey, t time.Time, failed bool) {
	f, ok := to[k]
	if !ok {
		if len(to) >= maxFacts {
			g.dropped++
			return
		}
		f = &Fact{Who: k.who, Port: k.port, Transport: word(k.transport.String(), "TRANSPORT_"), First: t, Last: t, Failed: true}
		to[k] = f
	}
	f.Failed = f.Failed && failed
	if t.Before(f.First) {
		f.First = t
	}
	if t.After(f.Last) {
		f.Last = t
	}
}

func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// Portraits lets the last files come due, and returns those of which match says yes, the one with the gravest evidence first.
func (g *Gallery) Portraits(match func(*spoorv1.Workload) bool) []Portrait {
	g.take(g.judge.Tick(g.now.Add(time.Minute)))
	var all []Portrait
	for name, s := range g.subjects {
		if match == nil || match(s.id) {
			all = append(all, s.portrait(name, g.now))
		}
	}
	slices.SortFunc(all, func(a, b Portrait) int {
		if a.Weight != b.Weight {
			return b.Weight - a.Weight
		}
		return strings.Compare(a.Workload, b.Workload)
	})
	return all
}
