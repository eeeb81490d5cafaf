// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/clickhouse"
)

// secured puts a server with TLS before the engine, as ClickHouse has one itself.
func secured(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: shared.Host}))
	t.Cleanup(s.Close)
	return s
}

// TestFailoverWithTLS: of three addresses the first never answers, and the second goes away between two transactions; all of it with TLS.
func TestFailoverWithTLS(t *testing.T) {
	a := database(t, t.TempDir())
	gone, first, second := secured(t), secured(t), secured(t)
	gone.Close()
	a.Secure = true
	a.Hosts = []string{gone.Listener.Addr().String(), first.Listener.Addr().String(), second.Listener.Addr().String()}
	roots := x509.NewCertPool()
	roots.AddCert(first.Certificate())
	registry := prometheus.NewRegistry()
	s, err := clickhouse.Open(clickhouse.Options{Address: a, TLS: &tls.Config{RootCAs: roots}, Logger: slog.New(slog.DiscardHandler), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	f := newFleet(time.Now().Add(-time.Hour))
	written := 0
	write := func() {
		t.Helper()
		b := f.batch(0, uint64(written+1), time.Now(), 100)
		if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
			t.Fatal(err)
		}
		written += 100
		stats, err := s.Stats(t.Context())
		if err != nil || stats.Events != uint64(written) {
			t.Fatalf("%d events are stored (%v), want %d", stats.Events, err, written)
		}
	}
	write()
	first.CloseClientConnections()
	first.Close()
	write()
	metrics, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	retries := 0.0
	for _, m := range metrics {
		for _, c := range m.GetMetric() {
			if m.GetName() == "spoor_collector_clickhouse_retries_total" && c.GetLabel()[0].GetValue() == "network" {
				retries += c.GetCounter().GetValue()
			}
		}
	}
	if retries < 2 {
		t.Errorf("%v retries were counted, of two servers that were gone", retries)
	}

	a.Hosts = a.Hosts[2:]
	_, err = clickhouse.Open(clickhouse.Options{Address: a, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}
