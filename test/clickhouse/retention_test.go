// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector/store/clickhouse"
)

// TestRetention: tables that are there already get the retention of now, and none when it is taken away.
func TestRetention(t *testing.T) {
	a := database(t, t.TempDir())
	for _, c := range []struct {
		keep time.Duration
		ttl  string
	}{{0, ""}, {36 * time.Hour, "toIntervalDay(3)"}, {24 * time.Hour, "toIntervalDay(2)"}, {24 * time.Hour, "toIntervalDay(2)"}, {0, ""}} {
		s, err := clickhouse.Open(clickhouse.Options{Address: a, Retention: c.keep, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, table := range []string{"event", "process"} {
			made, err := shared.Do(t.Context(), "SELECT create_table_query FROM system.tables WHERE database = '"+a.Database+"' AND name = '"+table+"'")
			if err != nil || strings.Contains(made, "toIntervalDay") != (c.ttl != "") || !strings.Contains(made, c.ttl) {
				t.Errorf("%s kept for %v: %v\n%s", table, c.keep, err, made)
			}
		}
	}
}
