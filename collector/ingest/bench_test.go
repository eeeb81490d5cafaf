// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/collector/identity"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/test/bench/traffic"
)

// BenchmarkIngest commits batches as the service does behind the wire: expanded, named, judged (without contracts) and
// durable. It reports what one event takes; the machine should have nothing else to do.
func BenchmarkIngest(b *testing.B) {
	for _, of := range []struct{ nodes, services, perBatch int }{
		{10, traffic.Services, 500},
		{5000, 6, 4}, // what each of many agents sends in a second
	} {
		b.Run(fmt.Sprintf("nodes=%d/events=%d", of.nodes, of.perBatch), func(b *testing.B) { ingestBatches(b, of.nodes, of.services, of.perBatch) })
	}
}

func ingestBatches(b *testing.B, nodes, services, perBatch int) {
	dir := b.TempDir()
	log := slog.New(slog.DiscardHandler)
	reg := prometheus.NewRegistry()
	s, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	resolver, err := identity.New(identity.Options{Registerer: reg})
	if err != nil {
		b.Fatal(err)
	}
	findings, err := finding.New(finding.Options{
		Store: s, NewJudge: func() finding.Judge { return contract.NewJudge(nil) }, Logger: log, Registerer: reg,
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) { return nil, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	c, err := ingest.NewCommitter(ingest.CommitterOptions{Store: s, Resolver: resolver, Findings: findings, Logger: log, Registerer: reg})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	f := traffic.New(nodes, services, time.Now().Add(-time.Hour))
	events := 0
	var cpu time.Duration
	for b.Loop() {
		// Each agent has a batch under way, as when all are busy.
		b.StopTimer()
		var batches []*store.Batch
		var runs []store.Run
		var wire []*spoorv1.Batch
		for n := range nodes {
			w := f.Next(n, perBatch)
			runs, wire = append(runs, runOf(f.Nodes[n])), append(wire, w)
			events += len(w.GetRecords())
		}
		before := used(b)
		b.StartTimer()
		for i, w := range wire {
			evs, err := ingest.Expand(runs[i], w, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			batches = append(batches, &store.Batch{Run: runs[i], Sequence: w.GetSequence(), Received: time.Now(), Events: evs})
		}
		if err := c.CommitForTest(batches...); err != nil {
			b.Fatal(err)
		}
		cpu += used(b) - before
	}
	elapsed := b.Elapsed()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil { // copies the log into the file
		b.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, sqlite.FileName))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(events), "events")
	b.ReportMetric(float64(events)/elapsed.Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(events)/1000, "µs-cpu/event")
	b.ReportMetric(float64(info.Size())/float64(events), "bytes/event")
}

// BenchmarkWire is BenchmarkIngest with everything: ten agents send over loopback what they have encoded, and wait for
// the acknowledgements. The agents' work is in the figures too.
func BenchmarkWire(b *testing.B) {
	c := newCentre(b, nil)
	const nodes, perBatch, rounds = 10, 500, 4
	f := traffic.New(nodes, traffic.Services, time.Now().Add(-time.Hour))
	var agents [nodes]*agent
	for n := range agents {
		agents[n] = c.dial()
		agents[n].greet(f.Nodes[n].Hello())
	}
	events := 0
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		var wire [nodes][]*spoorv1.Batch
		for range rounds {
			for n := range nodes {
				w := f.Next(n, perBatch)
				wire[n] = append(wire[n], w)
				events += len(w.GetRecords())
			}
		}
		before := used(b)
		b.StartTimer()
		var wg sync.WaitGroup
		for n, a := range agents {
			wg.Go(func() {
				for _, w := range wire[n] {
					if err := a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: w}}); err != nil {
						b.Error(err)
						return
					}
				}
				last := wire[n][rounds-1].GetSequence()
				for acknowledged := uint64(0); acknowledged < last; {
					m, err := a.Receive()
					if err != nil {
						b.Error(err)
						return
					}
					acknowledged = m.GetAcknowledge().GetSequence()
				}
			})
		}
		wg.Wait()
		cpu += used(b) - before
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(events), "events")
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(events)/1000, "µs-cpu/event")
}

// runOf is the run of a node's agent.
func runOf(n *traffic.Node) store.Run {
	return store.Run{Cluster: traffic.Cluster, Node: n.Name, Epoch: n.Epoch}
}

// used is the time that this process has spent on processors.
func used(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
