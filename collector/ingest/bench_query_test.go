// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"github.com/spoor/spoor/test/bench/traffic"
)

// benchEvents is the variable that says over how many events queries are measured; 200,000 without it.
const benchEvents = "SPOOR_BENCH_EVENTS"

// BenchmarkQuery measures the questions that people ask most, over a store that holds many times what they ask for.
func BenchmarkQuery(b *testing.B) {
	want := 200_000
	if s := os.Getenv(benchEvents); s != "" {
		var err error
		if want, err = strconv.Atoi(s); err != nil {
			b.Fatalf("%s: %v", benchEvents, err)
		}
	}
	s, err := sqlite.Open(sqlite.Options{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	const nodes = 10
	f := traffic.New(nodes, traffic.Services, time.Now())
	// As many events as there are, they happen within a day.
	f.Now = time.Now().Add(-24 * time.Hour)
	step := 24 * time.Hour / time.Duration(want/5000+1)
	id := uint64(0)
	for id < uint64(want) {
		w := &store.Write{}
		for n := range nodes {
			run, batch := runOf(f.Nodes[n]), f.Next(n, 500)
			evs, err := ingest.Expand(run, batch, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			for _, ev := range evs {
				id++
				ev.Id = id
			}
			w.Batches = append(w.Batches, store.Batch{Run: run, Sequence: batch.GetSequence(), Received: f.Now, Events: evs})
		}
		f.Now = f.Now.Add(step)
		if err := s.Write(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
	pod := f.Nodes[3].Instances[7].GetWorkload()
	noon := time.Now().Add(-12 * time.Hour)
	pattern := &store.Pattern{Cluster: "*", Namespace: pod.GetNamespace(), Kind: pod.GetKind(), Name: pod.GetName()}
	daemon := f.Nodes[3].Daemons[14].GetExecId()
	events := func(q store.EventQuery) func(*testing.B) int {
		q.Limit = 1000
		return func(b *testing.B) int {
			page, err := s.Events(b.Context(), q)
			if err != nil {
				b.Fatal(err)
			}
			return len(page.Events)
		}
	}
	for _, c := range []struct {
		name string
		ask  func(*testing.B) int
	}{
		{"workload-ten-minutes", events(store.EventQuery{Workload: pattern, Period: store.Period{From: noon, To: noon.Add(10 * time.Minute)}})},
		{"workload-newest", events(store.EventQuery{Workload: pattern, Newest: true})},
		{"process-ten-minutes", events(store.EventQuery{ExecID: daemon, Period: store.Period{From: noon, To: noon.Add(10 * time.Minute)}})},
		{"address-newest", events(store.EventQuery{Address: "10.0.4.1", Newest: true})},
		{"path-prefix-newest", events(store.EventQuery{PathPrefix: "/tmp/upload/12", Newest: true})},
		{"path-prefix-wide", events(store.EventQuery{PathPrefix: "/", Newest: true})},
		{"path-prefix-wide-oldest", events(store.EventQuery{PathPrefix: "/tmp"})},
		{"path-prefix-nothing", events(store.EventQuery{PathPrefix: "/nowhere"})},
		{"node-ten-minutes", events(store.EventQuery{Node: "node-4", Period: store.Period{From: noon, To: noon.Add(10 * time.Minute)}})},
		{"losses-nothing", events(store.EventQuery{Kinds: []store.Kind{store.KindLoss}})},
		{"all-newest", events(store.EventQuery{Newest: true})},
		{"tree", func(b *testing.B) int {
			nodes, _, err := s.Tree(b.Context(), daemon, 1000)
			if err != nil {
				b.Fatal(err)
			}
			return len(nodes)
		}},
		{"edges-of-a-day", func(b *testing.B) int {
			var edges []*spoorv1.Edge
			edges, err := s.Edges(b.Context(), store.EdgeQuery{From: time.Now().Add(-24 * time.Hour)})
			if err != nil {
				b.Fatal(err)
			}
			return len(edges)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = c.ask(b)
			}
			b.ReportMetric(float64(n), "results")
		})
	}
}
