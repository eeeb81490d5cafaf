// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector/store"
)

// scrapeTimeout is how long the store may take to describe itself.
const scrapeTimeout = 5 * time.Second

// storeMetrics asks the store when it is scraped.
type storeMetrics struct {
	store  store.Reader
	logger *slog.Logger
}

// These descriptions are constants in all but name.
var (
	storeEvents = prometheus.NewDesc("spoor_collector_store_events", "Events in the store.", nil, nil)
	storeBytes  = prometheus.NewDesc("spoor_collector_store_bytes", "Bytes that the store takes on disk.", nil, nil)
	storeUsed   = prometheus.NewDesc("spoor_collector_store_used_bytes", "Bytes of it that hold something; the rest is a log, or free for the next events.", nil, nil)
	storeOldest = prometheus.NewDesc("spoor_collector_store_oldest_timestamp_seconds", "Time of the oldest event in the store.", nil, nil)
	forgotten   = prometheus.NewDesc("spoor_collector_store_forgotten_events_total",
		"Events that were stored and forgotten, by reason: their age, or the size of the store.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (m *storeMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- storeEvents
	ch <- storeBytes
	ch <- storeUsed
	ch <- storeOldest
	ch <- forgotten
}

// Collect implements prometheus.Collector.
func (m *storeMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s, err := m.store.Stats(ctx)
	if err != nil {
		m.logger.Warn("the store does not describe itself", "error", err)
		return
	}
	ch <- prometheus.MustNewConstMetric(storeEvents, prometheus.GaugeValue, float64(s.Events))
	ch <- prometheus.MustNewConstMetric(storeBytes, prometheus.GaugeValue, float64(s.Bytes))
	ch <- prometheus.MustNewConstMetric(storeUsed, prometheus.GaugeValue, float64(s.Used))
	gone := map[string]uint64{store.ForgottenAge: 0, store.ForgottenSize: 0}
	for _, f := range s.Forgotten {
		gone[f.Reason] = f.Events
	}
	for reason, events := range gone {
		ch <- prometheus.MustNewConstMetric(forgotten, prometheus.CounterValue, float64(events), reason)
	}
	if !s.Oldest.IsZero() {
		ch <- prometheus.MustNewConstMetric(storeOldest, prometheus.GaugeValue, float64(s.Oldest.Unix()))
	}
}
