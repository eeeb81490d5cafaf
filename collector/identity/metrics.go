// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	flows     *prometheus.CounterVec
	late      prometheus.Counter
	forgotten *prometheus.CounterVec
}

func (m *metrics) init(reg prometheus.Registerer) error {
	if reg == nil {
		return errors.New("identity: Options.Registerer is nil")
	}
	m.flows = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_identity_flows_total",
		Help: "Flows that came in, by whether the workload or process at the other end was known when they were stored.",
	}, []string{"peer"})
	m.late = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "spoor_collector_identity_late_flows_total",
		Help: "Stored flows whose other end became known later.",
	})
	m.forgotten = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_identity_forgotten_total",
		Help: "Entries that gave way to newer ones: flows whose other half had not come, listeners and addresses.",
	}, []string{"what"})
	for _, what := range []string{"flow", "listener", "address"} {
		m.forgotten.WithLabelValues(what)
	}
	return errors.Join(reg.Register(m.flows), reg.Register(m.late), reg.Register(m.forgotten))
}

func (r *Resolver) count(batches []Batch, late int) {
	known, unknown := 0, 0
	for _, b := range batches {
		for _, ev := range b.Events {
			p := ev.GetFlow().GetPeer()
			switch {
			case p == nil:
			case p.GetWorkload() != nil || p.GetExecId() != "":
				known++
			default:
				unknown++
			}
		}
	}
	r.metrics.flows.WithLabelValues("known").Add(float64(known))
	r.metrics.flows.WithLabelValues("unknown").Add(float64(unknown))
	r.metrics.late.Add(float64(late))
}

// Size is how much a Resolver remembers.
type Size struct {
	// Flows that wait for their other half or may be it, and the client ports by which they are found.
	Flows, Ports int
	// Ports at which processes listen, and addresses that namespaces have.
	Listeners, Addresses int
}

// Size returns how much is remembered now.
func (r *Resolver) Size() Size {
	s := Size{Ports: len(r.byPort), Listeners: r.listeners.Len(), Addresses: r.holders.Len()}
	for _, h := range r.halves {
		if h != nil {
			s.Flows++
		}
	}
	return s
}
