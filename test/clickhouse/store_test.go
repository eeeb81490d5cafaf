// SPDX-License-Identifier: Apache-2.0

// Package clickhouse_test holds the ClickHouse store to what every store promises, with ClickHouse's own engine, and two collectors that share
// nothing but it.
package clickhouse_test

import (
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/clickhouse"
	"github.com/spoor/spoor/collector/store/storetest"
	"github.com/spoor/spoor/test/clickhouse/engine"
)

// modules is where `make engine` puts ClickHouse's engine.
const modules = "../../build/engine"

// shared is the engine of all tests of this process: it takes a second to start, and each test has a database of its own in it.
var shared *engine.Engine

func TestMain(m *testing.M) {
	if a := os.Getenv(role); a != "" {
		if err := serve(a); err != nil {
			fmt.Fprintln(os.Stderr, "collector:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "spoor-engine-")
	if err == nil {
		defer func() { _ = os.RemoveAll(folder) }()
		shared, err = engine.Start(modules, "engine/serve.js", folder, "0")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = shared.Stop() }()
	return m.Run()
}

// database makes the database that belongs to a folder, and returns its address.
func database(t testing.TB, dir string) *clickhouse.Address {
	t.Helper()
	h := fnv.New64a()
	_, _ = h.Write([]byte(dir))
	name := fmt.Sprintf("t%x", h.Sum64())
	if _, err := shared.Do(t.Context(), "CREATE DATABASE IF NOT EXISTS "+name); err != nil {
		t.Fatal(err)
	}
	return &clickhouse.Address{Hosts: []string{shared.Host}, Database: name}
}

func open(t testing.TB, a *clickhouse.Address) *clickhouse.Store {
	t.Helper()
	s, err := clickhouse.Open(clickhouse.Options{Address: a, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store { return open(t, database(t, dir)) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T, dir string) store.Store { return open(t, database(t, dir)) })
}
