// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics reads the agent's counters when it is scraped: nothing is counted twice.
type metrics struct {
	agent *Agent

	volatile, spoolBytes, spoolHealthy                                                     *prometheus.Desc
	lost, events, held, connected, attempts, remembered, tier, unnamed, forgotten, flushes *prometheus.Desc
}

func newMetrics(a *Agent) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("spoor_agent_"+name, help, labels, nil)
	}
	return &metrics{
		agent:        a,
		lost:         desc("lost_total", "What was not seen or not kept, by part and reason.", "source", "reason"),
		events:       desc("events_total", "Events that were queued for the collector."),
		held:         desc("held_events", "Events that the collector has not acknowledged."),
		volatile:     desc("unspooled_events", "Events that the collector has not acknowledged and that are not on disk."),
		spoolBytes:   desc("spool_bytes", "Bytes that events on disk take."),
		spoolHealthy: desc("spool_healthy", "0 while the disk does not take events; then they wait in memory."),
		connected:    desc("connected", "1 while a collector answers."),
		attempts:     desc("connects_total", "Streams to a collector that were begun."),
		remembered:   desc("remembered", "Entries of the agent's bounded tables.", "table"),
		unnamed:      desc("unnamed_total", "Containers whose events were sent without a name, by reason: it did not come in time, or too many events waited.", "reason"),
		forgotten:    desc("forgotten_total", "Entries of the agent's bounded tables that went before their time for want of room.", "table"),
		flushes:      desc("flushes_total", "Changes of files that were flushes of what another process had written, and are not told."),
		tier:         desc("sensor_tier", "1 for the tier that each sensor runs in.", "sensor", "tier"),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	a := m.agent
	stats := a.queue.Stats()
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter(m.events, float64(stats.Sequence))
	gauge(m.held, float64(stats.Held+a.left()))
	if a.spool != nil {
		gauge(m.volatile, float64(stats.Volatile))
		gauge(m.spoolBytes, float64(a.spool.Bytes()))
		healthy := 1.0
		if stats.Disk != nil {
			healthy = 0
		}
		gauge(m.spoolHealthy, healthy)
	}
	connected := 0.0
	if a.client.Connected() {
		connected = 1
	}
	gauge(m.connected, connected)
	counter(m.attempts, float64(a.client.Attempts()))
	for _, c := range a.coverage {
		gauge(m.tier, 1, c.GetSensor(), c.GetTier())
	}
	state := a.state.Load()
	for table, n := range state.remembered {
		gauge(m.remembered, float64(n), table)
	}
	for reason, n := range state.unnamed {
		counter(m.unnamed, float64(n), reason)
	}
	for table, n := range state.forgotten {
		counter(m.forgotten, float64(n), table)
	}
	counter(m.flushes, float64(state.flushes))
	for k, n := range state.losses {
		counter(m.lost, float64(n), k.source, k.reason)
	}
}

// state is what the observing goroutine publishes for the scraping one.
type state struct {
	remembered map[string]int
	forgotten  map[string]uint64
	losses     map[lossKey]uint64
	unnamed    map[string]uint64
	flushes    uint64
}

func (a *Agent) publish() {
	losses := maps.Clone(a.lost)
	a.state.Store(&state{losses: losses, flushes: a.authors.flushes, unnamed: map[string]uint64{
		"late": a.workloads.Unnamed(), "crowded": a.held.crowded,
	}, remembered: map[string]int{
		"processes": a.table.Len(), "files": a.writes.Len(), "peers": a.flows.Len(),
		"cgroups": a.workloads.Len(), "events_without_name": a.held.count, "written_files": a.readback.len(),
		"network_namespaces": a.networks.Len(),
	}, forgotten: map[string]uint64{
		"written_files": a.readback.forgotten(), "network_namespaces": a.networks.Forgotten(), "ended_processes": a.table.Hurried(),
	}})
}
