// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	verdicts *prometheus.CounterVec
	changes  *prometheus.CounterVec
}

func (m *metrics) init(reg prometheus.Registerer) error {
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
	return errors.Join(reg.Register(m.verdicts), reg.Register(m.changes))
}
