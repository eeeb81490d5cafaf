// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	verdicts *prometheus.CounterVec
	changes  *prometheus.CounterVec
	held     *prometheus.CounterVec
	// What the judge could not decide for want of labels.
	unlabelled atomic.Uint64
}

func (m *metrics) init(reg prometheus.Registerer, t *till) error {
	m.held = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_notifications_held_total",
		Help: "Findings of which receivers were told later, because the budget of their workload and rule was spent: first, those never seen before; again, those that came back.",
	}, []string{"lane"})
	for _, first := range []bool{true, false} {
		m.held.WithLabelValues(lane(first))
	}
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "spoor_collector_notifications_dropped_total",
		Help: "Findings of which receivers were never told, because too many waited. They are listed all the same.",
	}, func() float64 { return float64(t.dropped.Load()) })
	unlabelled := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "spoor_collector_unlabelled_events_total",
		Help: "Events that no contract judges, because it depends on labels of their workloads that no agent told which it is.",
	}, func() float64 { return float64(m.unlabelled.Load()) })
	m.verdicts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_verdicts_total",
		Help: "Verdicts that opened a finding or added to one, by rule.",
	}, []string{"rule"})
	m.changes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_finding_changes_total",
		Help: "Changes of a finding's state: opened, reopened, cleared (the cause is gone), expired, acknowledged or resolved (by a person).",
	}, []string{"change"})
	for _, change := range []string{"opened", "reopened", "cleared", "expired", "acknowledged", "resolved"} {
		m.changes.WithLabelValues(change)
	}
	return errors.Join(reg.Register(m.verdicts), reg.Register(m.changes), reg.Register(m.held), reg.Register(dropped), reg.Register(unlabelled))
}
