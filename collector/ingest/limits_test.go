// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/ingest"
)

func TestLimitsThatCannotHold(t *testing.T) {
	if err := (ingest.Limits{}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, c := range []struct {
		limits  ingest.Limits
		problem string
	}{
		{ingest.Limits{MessageBytes: 1000}, "one message may take 1000 bytes"},
		{ingest.Limits{MessageBytes: 1 << 31, NodeBytes: 1 << 31, TotalBytes: 1 << 31}, "1 GiB"},
		{ingest.Limits{RecordsPerSecond: 10}, "10 records a second: below 2000"},
		{ingest.Limits{RecordsPerSecond: -1}, "-1 records a second"},
		{ingest.Limits{Burst: 100}, "100 records at once: that is less than a second of its 20000"},
		{ingest.Limits{NodeBytes: 1 << 20}, "less than one message"},
		{ingest.Limits{TotalBytes: 1 << 20}, "less than the 33554432 bytes of one node"},
	} {
		if err := c.limits.Validate(); err == nil || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%+v: %v, want %q", c.limits, err, c.problem)
		}
	}
}

// TestTooLargeAMessage: it is refused with what would help, and counted; nobody else notices.
func TestTooLargeAMessage(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) { o.Limits.MessageBytes = 1 << 20 })
	other := c.dial()
	other.greet(hello("other", "e"))
	a := c.dial()
	a.greet(hello("n", "e"))
	a.send(batch(1, 1, 10))
	a.acknowledged(1)
	b := batch(2, 11, 1)
	b.Processes[0].ArgsRaw = make([]byte, 1<<20)
	_ = a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}}) // may be cut off half-way
	code, problem := a.ended()
	if code != connect.CodeResourceExhausted || !strings.Contains(problem, "1048576 bytes") || !strings.Contains(problem, "--agent-message") {
		t.Errorf("ended with %v %s, want resource_exhausted and what to do", code, problem)
	}
	if n := c.counter("spoor_collector_ingest_refused_total", "message_size"); n != 1 {
		t.Errorf("%v refused for their size, want 1", n)
	}
	other.send(batch(1, 1, 1))
	other.acknowledged(1)
	if n := len(c.events()); n != 11 {
		t.Errorf("%d events, want 11", n)
	}
}

// TestNoMessages: what is not the protocol is refused with what may be the reason, and counted.
func TestNoMessages(t *testing.T) {
	c := newCentre(t, nil)
	for _, body := range []string{
		"\x00\x00\x00\x00\x04\xff\xff\xff\xff",             // no protobuf
		"\x00\x00\x00\x00\x03\x0a\x7f\x00",                 // a field that is longer than the message
		"\x01\x00\x00\x00\x04" + "not compressed"[:4],      // says that it is compressed
		"\x00\x00\x00\x00\x05\x0a\x03\x0a\x01\xff" + "abc", // text that is not UTF-8
	} {
		before := c.counter("spoor_collector_ingest_refused_total", "malformed")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/spoor.v1.AgentService/Ship", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("Grpc-Encoding", "gzip")
		answer, err := c.transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Error(err)
		}
		_ = answer.Body.Close()
		status, problem := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
		if status != "3" || !strings.Contains(problem, "is it an agent of spoor") {
			t.Errorf("%q: status %q %q, want 3 and what to look at", body, status, problem)
		}
		if n := c.counter("spoor_collector_ingest_refused_total", "malformed"); n != before+1 {
			t.Errorf("%q: %v counted as malformed, want %v", body, n, before+1)
		}
	}
}

// TestRate: who sends more than it may is not read from for a while; a new connection does not help.
func TestRate(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) { o.Limits.RecordsPerSecond, o.Limits.Burst = 2000, 2000 })
	// Processes count as records do, and cost the store nothing when no record is of them.
	much := func(n uint64, processes int) *spoorv1.Batch {
		b := batch(n, n, 1)
		for range processes - 1 {
			b.Processes, b.ProcessInstances = append(b.Processes, b.Processes[0]), append(b.ProcessInstances, 0)
		}
		return b
	}
	begun := time.Now()
	a := c.dial()
	a.greet(hello("n", "e"))
	a.send(much(1, 5000))
	a.acknowledged(1)
	a.hangUp()
	a = c.dial()
	a.greet(hello("n", "e"))
	if took := time.Since(begun); took < 1500*time.Millisecond {
		t.Errorf("the second stream of who has sent 5000 records was welcomed after %v, at 2000 a second and as many at once", took)
	}
	a.send(much(2, 50_000))
	a.acknowledged(2)
	c.until("spoor_collector_ingest_slowed_streams", "rate", 1)
	// Nobody else is.
	b := c.dial()
	b.greet(hello("other", "e"))
	b.send(much(1, 1000))
	b.acknowledged(1)
	// A newer stream of the node does not wait for the old one's pause, only for its own.
	again := c.dial()
	again.try(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello("n", "e")}})
	if code, problem := a.ended(); code != connect.CodeAborted || !strings.Contains(problem, "another stream") {
		t.Errorf("the stream that was slowed ended with %v %s", code, problem)
	}
	c.until("spoor_collector_ingest_slowed_streams", "rate", 1)
	again.hangUp()
	c.until("spoor_collector_ingest_slowed_streams", "rate", 0)
	if s := c.counter("spoor_collector_ingest_slowed_seconds_total", "rate"); s <= 0 {
		t.Errorf("slowed for %v s", s)
	}
}

// TestNodeMemory: what may not wait in memory waits at the agent, and arrives.
func TestNodeMemory(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) {
		o.Limits.MessageBytes, o.Limits.NodeBytes, o.Limits.TotalBytes = 128<<10, 128<<10, 256<<10
	})
	a, b := c.dial(), c.dial()
	a.greet(hello("n", "e"))
	b.greet(hello("other", "e"))
	c.store.held.Lock()
	large := func(n uint64) *spoorv1.Batch {
		b := batch(n, n*100+1, 100)
		b.Processes[0].ArgsRaw = make([]byte, 60<<10) // two at a time
		return b
	}
	for n := range uint64(5) {
		a.send(large(n + 1))
	}
	c.until("spoor_collector_ingest_slowed_streams", "node_memory", 1)
	b.send(large(1))
	b.send(large(2))
	b.send(large(3))
	c.until("spoor_collector_ingest_slowed_streams", "node_memory", 2)
	c.store.held.Unlock()
	a.acknowledged(5)
	b.acknowledged(3)
	if n := len(c.events()); n != 800 {
		t.Errorf("%d events, want 800", n)
	}
	if s := c.counter("spoor_collector_ingest_slowed_seconds_total", "node_memory"); s <= 0 {
		t.Errorf("slowed for %v s", s)
	}
}
