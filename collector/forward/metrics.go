// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events, refused, forgotten prometheus.Counter
	waiting, healthy, streams  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spoor_collector_forward_events_total", Help: "Events that the collector to which this one forwards has acknowledged.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spoor_collector_forward_refused_events_total", Help: "Events that the collector to which this one forwards does not take: of a node that it refuses, or in a batch that it cannot read.",
		}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spoor_collector_forward_forgotten_events_total", Help: "Events that this collector forgot before it could forward them, for their age or the size of the store.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spoor_collector_forward_waiting_events", Help: "Events in the store that have yet to be forwarded.",
		}),
		healthy: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spoor_collector_forward_healthy", Help: "1 when events are forwarded, 0 when the other collector cannot be reached.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spoor_collector_forward_streams", Help: "Nodes that have a stream to the collector to which this one forwards.",
		}),
	}
	return m, errors.Join(reg.Register(m.events), reg.Register(m.refused), reg.Register(m.forgotten), reg.Register(m.waiting), reg.Register(m.healthy), reg.Register(m.streams))
}
