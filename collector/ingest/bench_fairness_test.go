// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/test/bench/traffic"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// BenchmarkFairness measures how long a quiet agent, with five events at a time, waits for its acknowledgement: alone, and beside
// agents that send batches of 2,000 events as fast as they are taken, without a limit of their rate. All are in one process and
// share its processors. Each iteration is one batch of the quiet agent.
func BenchmarkFairness(b *testing.B) {
	for _, flooding := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("flooding=%d", flooding), func(b *testing.B) { fairness(b, flooding) })
	}
}

func fairness(b *testing.B, flooding int) {
	const pause = 20 * time.Millisecond
	c := newCentre(b, func(o *ingest.ServiceOptions) { o.Limits.RecordsPerSecond = 1_000_000_000 })
	f := traffic.New(flooding+1, traffic.Services, time.Now().Add(-time.Hour))
	for n := range flooding {
		c.flood(b, f, n+1)
	}
	quiet := c.dial()
	quiet.greet(f.Nodes[0].Hello())
	events := func() (all float64) {
		for kind := range store.KindCoverage + 1 {
			all += c.counter("spoor_collector_ingest_events_total", kind.String())
		}
		return all
	}
	before, begun := events(), time.Now()
	var took []time.Duration
	for b.Loop() {
		w := f.Next(0, 5)
		sent := time.Now()
		quiet.send(w)
		quiet.acknowledged(w.GetSequence())
		took = append(took, time.Since(sent))
		time.Sleep(pause)
	}
	rate := (events() - before) / time.Since(begun).Seconds()
	slices.Sort(took)
	at := func(p int) float64 { return float64(took[len(took)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(50), "p50-ms")
	b.ReportMetric(at(99), "p99-ms")
	b.ReportMetric(rate, "events/s")
}

// flood sends batches of a node until the benchmark ends. They are encoded once, and get their number at the end: what is
// measured is the collector, not who floods it.
func (c *centre) flood(b *testing.B, f *traffic.Fleet, node int) {
	const perBatch, prepared = 2000, 10
	encode := func(m proto.Message) []byte {
		encoded, err := proto.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		return encoded
	}
	var batches [prepared][]byte
	for i := range batches {
		w := f.Next(node, perBatch)
		batches[i] = encode(w)
	}
	greeting := encode(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{
		Hello: f.Nodes[node].Hello(),
	}})
	body, w := io.Pipe()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, c.url+spoorv1connect.AgentServiceShipProcedure, body)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/grpc")
	var wg sync.WaitGroup
	wg.Go(func() {
		envelope := func(parts ...[]byte) error {
			message := []byte{0, 0, 0, 0, 0}
			for _, p := range parts {
				message = append(message, p...)
			}
			binary.BigEndian.PutUint32(message[1:], uint32(len(message)-5))
			_, err := w.Write(message)
			return err
		}
		err := envelope(greeting)
		for i := uint64(1); err == nil; i++ {
			// Of a field that comes twice, the last one holds.
			number := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), i)
			content := batches[i%prepared]
			head := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.BytesType), uint64(len(content)+len(number)))
			err = envelope(head, content, number)
		}
	})
	// Agents of different nodes have different connections.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		b.Fatal(err)
	}
	wg.Go(func() { _, _ = io.Copy(io.Discard, answer.Body) })
	b.Cleanup(func() {
		_ = w.Close()
		_ = answer.Body.Close()
		wg.Wait()
		transport.CloseIdleConnections()
	})
}
