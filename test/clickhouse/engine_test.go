// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store/clickhouse"
	"github.com/spoor/spoor/test/clickhouse/engine"
)

// TestEngineIsKilled kills ClickHouse's engine itself, again and again, while agents tell and two collectors write. It comes back on the same folder.
// In the end each event is there, once.
func TestEngineIsKilled(t *testing.T) {
	folder := t.TempDir()
	start := func(port string) *engine.Engine {
		t.Helper()
		e, err := engine.Start(modules, "engine/serve.js", folder, port)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	old := shared
	e := start("0")
	_, port, err := net.SplitHostPort(e.Host)
	if err != nil {
		t.Fatal(err)
	}
	shared = e // of what looks into it in the end
	defer func() { shared = old }()
	if _, err := e.Do(t.Context(), "CREATE DATABASE killed"); err != nil {
		t.Fatal(err)
	}
	a := &clickhouse.Address{Hosts: []string{e.Host}, Database: "killed"}
	b := newBalancer(t, 2)
	var centres []*centre
	for i := range 2 {
		c, err := startCentre(a)
		if err != nil {
			t.Fatal(err)
		}
		b.set(i, c.addr)
		centres = append(centres, c)
	}
	var agents []*shipper
	for i := range 4 {
		agents = append(agents, newShipper(t, i, b.url()))
	}
	tell := func(length time.Duration) {
		for until := time.Now().Add(length); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
			for _, s := range agents {
				s.tell(t)
			}
		}
	}
	for range kills(t) {
		tell(500*time.Millisecond + rand.N(1500*time.Millisecond))
		if err := e.Kill(); err != nil {
			t.Fatal(err)
		}
		tell(rand.N(500 * time.Millisecond))
		e = start(port)
		shared = e
	}
	told := map[string]uint64{}
	for _, s := range agents {
		s.arrive(t)
		told[s.epoch] = s.told
	}
	for _, c := range centres {
		c.end(t)
	}
	c := count(t, a, told)
	t.Logf("%d kills of the engine: %d events told, missing %d, doubled %d; %s", kills(t), c.told, c.missing, c.doubled, transactions(t, a))
	if c.missing != 0 || c.doubled != 0 || c.told == 0 {
		t.Error("that is not each of them once")
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
}
