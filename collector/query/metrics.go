// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	seconds *prometheus.HistogramVec
	refused *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, followers func() int) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "spoor_collector_query_seconds", Help: "How long answers took, by method and outcome.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"method", "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_query_refused_total", Help: "Questions that were refused because a bound was reached.",
		}, []string{"reason"}),
	}
	m.refused.WithLabelValues(reasonFollowers)
	for _, c := range []prometheus.Collector{m.seconds, m.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_query_followers", Help: "Streams of events to people.",
	}, func() float64 { return float64(followers()) })} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("query: register metrics: %w", err)
		}
	}
	return m, nil
}

// reasonFollowers: Options.MaxFollowers streams run already.
const reasonFollowers = "followers"
