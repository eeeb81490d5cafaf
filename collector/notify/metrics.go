// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics have the receiver as their only unbounded label, and receivers are configured by hand.
type metrics struct {
	alerts           *prometheus.CounterVec
	seconds          *prometheus.HistogramVec
	pending, failing *prometheus.GaugeVec
	storeErrors      *prometheus.CounterVec
}

// laneMetrics are those of one receiver.
type laneMetrics struct {
	delivered, failed, givenUp, storeErrors prometheus.Counter
	seconds                                 prometheus.Observer
	pending, failing                        prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	const prefix = "spoor_collector_notify_"
	labels := []string{"receiver"}
	m := &metrics{
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "alerts_total", Help: "Alerts that were sent, by what came of it: delivered, failed (and sent again) or given_up.",
		}, []string{"receiver", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "send_seconds", Help: "How long receivers took for a batch of alerts.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, labels),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "pending", Help: "Alerts in the outbox: those that are open, and those that are not told yet.",
		}, labels),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "failing", Help: "Alerts in the outbox that could not be delivered when they were last sent.",
		}, labels),
		storeErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "store_errors_total", Help: "Failures of the store to read or write an outbox.",
		}, labels),
	}
	for _, c := range []prometheus.Collector{m.alerts, m.seconds, m.pending, m.failing, m.storeErrors} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("notify: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) of(receiver string) *laneMetrics {
	return &laneMetrics{
		delivered: m.alerts.WithLabelValues(receiver, "delivered"), failed: m.alerts.WithLabelValues(receiver, "failed"),
		givenUp: m.alerts.WithLabelValues(receiver, "given_up"), storeErrors: m.storeErrors.WithLabelValues(receiver),
		seconds: m.seconds.WithLabelValues(receiver), pending: m.pending.WithLabelValues(receiver), failing: m.failing.WithLabelValues(receiver),
	}
}
