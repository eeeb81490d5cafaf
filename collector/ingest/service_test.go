// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShip(t *testing.T) {
	c := newCentre(t, nil)
	a := c.dial()
	if n := a.greet(hello("n", "e")); n != 0 {
		t.Errorf("a new run has %d acknowledged", n)
	}
	a.send(batch(1, 1, 10))
	a.send(batch(2, 11, 10))
	a.acknowledged(2)
	if n := len(c.events()); n != 20 {
		t.Errorf("%d events are durable after the acknowledgement, want 20", n)
	}
	a.hangUp()

	// After a break the agent sends again what it is not sure of.
	a = c.dial()
	if n := a.greet(hello("n", "e")); n != 2 {
		t.Errorf("the collector has %d, want 2", n)
	}
	a.send(batch(2, 11, 10))
	a.send(batch(3, 21, 10))
	a.acknowledged(3)
	evs := c.events()
	for i, ev := range evs {
		if ev.GetSequence() != uint64(i+1) || ev.GetId() != uint64(i+1) || ev.GetEpoch() != "e" || ev.GetNode() != "n" ||
			ev.GetProcess().GetExecId() != "p" || ev.GetInstance().GetId() != "i" || ev.GetKind() != "file_write" {
			t.Fatalf("event %d: %v", i, ev)
		}
	}
	if len(evs) != 30 {
		t.Errorf("%d events, want 30", len(evs))
	}
	// Another run counts from 1 again.
	b := c.dial()
	if n := b.greet(hello("n", "e2")); n != 0 {
		t.Errorf("another run has %d acknowledged", n)
	}
	b.send(batch(1, 1, 1))
	b.acknowledged(1)
	if err := b.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Receive(); connect.CodeOf(err) != connect.CodeUnknown || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("a stream that the agent ends in order ends with %v", err)
	}
}

func TestRefusals(t *testing.T) {
	request := func(h *spoorv1.Hello) *spoorv1.ShipRequest {
		return &spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: h}}
	}
	asBatch := func(change func(b *spoorv1.Batch)) *spoorv1.ShipRequest {
		b := batch(2, 11, 3)
		change(b)
		return &spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}}
	}
	long := strings.Repeat("x", 100_000)
	c := newCentre(t, nil)
	other := c.dial()
	other.greet(hello("other", "e"))
	for i, r := range []struct {
		name    string
		first   *spoorv1.ShipRequest // instead of hello
		then    *spoorv1.ShipRequest // after a batch that is fine
		reason  string
		problem string
	}{
		{name: "no hello", first: asBatch(func(*spoorv1.Batch) {}), reason: "protocol", problem: "not hello"},
		{name: "empty message", first: &spoorv1.ShipRequest{}, reason: "protocol", problem: "not hello"},
		{name: "hello without a node", first: request(&spoorv1.Hello{Epoch: "e"}), reason: "hello", problem: "hello.node"},
		{name: "hello without an epoch", first: request(&spoorv1.Hello{Node: "n"}), reason: "hello", problem: "hello.epoch"},
		{name: "long hello", first: request(&spoorv1.Hello{Node: long, Epoch: "e"}), reason: "size", problem: "hello.node"},
		{name: "second hello", then: request(hello("n", "e")), reason: "protocol", problem: "no batch"},
		{name: "batch 0", then: asBatch(func(b *spoorv1.Batch) { b.Sequence = 0 }), reason: "sequence", problem: "from 1"},
		{name: "no fact", then: asBatch(func(b *spoorv1.Batch) { b.Records[1].Fact = nil }), reason: "fact", problem: "record 1: it has no fact"},
		{name: "process out of range", then: asBatch(func(b *spoorv1.Batch) { b.Records[2].Process = 2 }), reason: "index", problem: "record 2: its process is 2, but there are 1"},
		{name: "instance out of range", then: asBatch(func(b *spoorv1.Batch) { b.Records[0].Instance = 1 << 31 }), reason: "index", problem: "its instance"},
		{name: "process without instance", then: asBatch(func(b *spoorv1.Batch) { b.ProcessInstances = nil }), reason: "index", problem: "process_instances"},
		{name: "instance of process out of range", then: asBatch(func(b *spoorv1.Batch) { b.ProcessInstances[0] = 1 }), reason: "index", problem: "process_instances[0] is 1"},
		{name: "no time", then: asBatch(func(b *spoorv1.Batch) { b.Records[0].TimeUnixNano = 0 }), reason: "time", problem: "not set"},
		{name: "far future", then: asBatch(func(b *spoorv1.Batch) { b.Records[0].TimeUnixNano += uint64(48 * time.Hour) }), reason: "time", problem: "check the clock of node"},
		{name: "beyond time", then: asBatch(func(b *spoorv1.Batch) { b.Records[0].TimeUnixNano = ^uint64(0) }), reason: "time", problem: "check the clock"},
		{name: "odd timestamp", then: asBatch(func(b *spoorv1.Batch) { b.Processes[0].StartTime = &timestamppb.Timestamp{Nanos: -1} }), reason: "time", problem: "processes[0]"},
		{name: "sequence repeats", then: asBatch(func(b *spoorv1.Batch) { b.Records[1].Sequence = b.Records[0].Sequence }), reason: "sequence", problem: "not above"},
		{name: "long path", then: asBatch(func(b *spoorv1.Batch) { b.Records[0].GetFileWrite().File.Path = long }), reason: "size", problem: "path has 100000 bytes"},
		{name: "no file", then: asBatch(func(b *spoorv1.Batch) { b.Records[0].GetFileWrite().File = nil }), reason: "fact", problem: "file is not set"},
		{name: "no exec id", then: asBatch(func(b *spoorv1.Batch) { b.Processes[0].ExecId = "" }), reason: "fact", problem: "exec_id is empty"},
		{name: "port", then: asBatch(func(b *spoorv1.Batch) {
			b.Records[0].Fact = &spoorv1.Record_Flow{Flow: &spoorv1.Flow{Local: &spoorv1.Endpoint{}, Peer: &spoorv1.Endpoint{Port: 65536}}}
		}), reason: "fact", problem: "port 65536 of peer"},
	} {
		t.Run(r.name, func(t *testing.T) {
			before := c.counter("spoor_collector_ingest_refused_total", r.reason)
			stored := len(c.events())
			a := c.dial()
			a.t = t
			if r.first != nil {
				a.try(r.first)
			} else {
				a.greet(hello(fmt.Sprint("n", i), "e"))
				a.send(batch(1, 1, 10))
				a.try(r.then)
				stored += 10 // what came before is kept
			}
			code, problem := a.ended()
			if code != connect.CodeInvalidArgument || !strings.Contains(problem, r.problem) {
				t.Errorf("ended with %v %q, want invalid_argument with %q", code, problem, r.problem)
			}
			if n := c.counter("spoor_collector_ingest_refused_total", r.reason); n != before+1 {
				t.Errorf("%v refused for %s, want %v", n, r.reason, before+1)
			}
			if n := len(c.events()); n != stored {
				t.Errorf("%d events, want %d", n, stored)
			}
		})
	}
	other.send(batch(1, 1, 1))
	other.acknowledged(1)
}

func TestIdentityIsNotTheAgentsToChoose(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) {
		o.Identify = func(_ context.Context, h *spoorv1.Hello) (cluster, node string, err error) {
			if h.GetNode() != "mine" {
				return "", "", fmt.Errorf("the certificate is of node mine, not of %s", h.GetNode())
			}
			return "proven", "mine", nil
		}
	})
	a := c.dial()
	a.try(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello("theirs", "e")}})
	if code, problem := a.ended(); code != connect.CodePermissionDenied || !strings.Contains(problem, "certificate") {
		t.Errorf("ended with %v %s", code, problem)
	}
	b := c.dial()
	b.greet(hello("mine", "e"))
	runs, err := c.store.Runs(t.Context())
	if err != nil || len(runs) != 1 || runs[0].Cluster != "proven" {
		t.Errorf("runs %+v (%v)", runs, err)
	}
}

// TestARunThatHasEnded: what an agent left is brought by the next one, and was seen when it ended.
func TestARunThatHasEnded(t *testing.T) {
	c := newCentre(t, nil)
	ended := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	h := hello("n", "old")
	h.StartTime, h.Ended = timestamppb.New(ended.Add(-time.Hour)), timestamppb.New(ended)
	a := c.dial()
	a.greet(h)
	a.send(batch(1, 1, 10))
	a.acknowledged(1)
	a.hangUp()
	b := c.dial()
	b.greet(hello("n", "new"))
	runs, err := c.store.Runs(t.Context())
	if err != nil || len(runs) != 2 || runs[0].Epoch != "old" || !runs[0].Seen.Equal(ended) || !runs[1].Seen.After(ended) {
		t.Errorf("runs %+v (%v), want the old one as seen at %v", runs, err, ended)
	}
}

// TestSecondStreamOfANode: the newer one wins, and sees what the older one brought.
func TestSecondStreamOfANode(t *testing.T) {
	c := newCentre(t, nil)
	a := c.dial()
	a.greet(hello("n", "e"))
	for i := range uint64(5) {
		a.send(batch(i+1, i*10+1, 10))
	}
	a.acknowledged(5)
	b := c.dial()
	if n := b.greet(hello("n", "e")); n != 5 {
		t.Errorf("the second stream is welcomed with %d, want 5", n)
	}
	if code, problem := a.ended(); code != connect.CodeAborted || !strings.Contains(problem, "another stream") {
		t.Errorf("the first stream ended with %v %s", code, problem)
	}
	if !c.service.Connected(store.Run{Cluster: "c", Node: "n", Epoch: "e"}) || !c.service.ConnectedNode("c", "n") {
		t.Error("the node is not connected")
	}
	if c.service.Connected(store.Run{Cluster: "c", Node: "n", Epoch: "other"}) || c.service.ConnectedNode("c", "other") {
		t.Error("a node is connected that is not")
	}
	b.send(batch(6, 51, 10))
	b.acknowledged(6)
	if n := len(c.events()); n != 60 {
		t.Errorf("%d events, want 60", n)
	}
}

func TestStopDrains(t *testing.T) {
	c := newCentre(t, nil)
	a := c.dial()
	a.greet(hello("n", "e"))
	a.send(batch(1, 1, 100))
	a.acknowledged(1)
	c.service.Stop()
	if code, problem := a.ended(); code != connect.CodeUnavailable || !strings.Contains(problem, "stopping") {
		t.Errorf("ended with %v %s", code, problem)
	}
	b := c.dial()
	b.try(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello("n", "e")}})
	if code, _ := b.ended(); code != connect.CodeUnavailable {
		t.Errorf("a stream after the stop ended with %v", code)
	}
}

// TestStoreFails: nothing is acknowledged, nothing is taken for durable, and it goes on when the store does.
func TestStoreFails(t *testing.T) {
	c := newCentre(t, nil)
	a := c.dial()
	a.greet(hello("n", "e"))
	a.send(batch(1, 1, 10))
	a.acknowledged(1)
	c.store.broken.Store(true)
	a.send(batch(2, 11, 10))
	if code, problem := a.ended(); code != connect.CodeUnavailable || !strings.Contains(problem, "no space left") {
		t.Errorf("ended with %v %s", code, problem)
	}
	if c.committer.Healthy() == nil {
		t.Error("the committer says that it is healthy")
	}
	c.store.broken.Store(false)
	deadline := time.Now().Add(time.Minute)
	for c.committer.Healthy() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("still not healthy: %v", c.committer.Healthy())
		}
		time.Sleep(10 * time.Millisecond)
	}
	a = c.dial()
	if n := a.greet(hello("n", "e")); n != 1 {
		t.Errorf("welcomed with %d, want 1", n)
	}
	a.send(batch(2, 11, 10))
	a.acknowledged(2)
	evs := c.events()
	if len(evs) != 20 || evs[19].GetId() != 20 || evs[19].GetSequence() != 20 {
		t.Errorf("%d events, the last is %v", len(evs), evs[len(evs)-1])
	}
}

func TestManyAgents(t *testing.T) {
	c := newCentre(t, nil)
	const agents, batches = 20, 10
	done := make(chan error, agents)
	for i := range agents {
		a := c.dial()
		go func() {
			done <- func() error {
				if err := a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello(fmt.Sprint("n", i), "e")}}); err != nil {
					return err
				}
				for n := range uint64(batches) {
					if err := a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: batch(n+1, n*50+1, 50)}}); err != nil {
						return err
					}
				}
				for {
					m, err := a.Receive()
					if err != nil {
						return err
					}
					if m.GetAcknowledge().GetSequence() == batches {
						return nil
					}
				}
			}()
		}()
	}
	for range agents {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for _, ev := range c.events() {
		seen[fmt.Sprint(ev.GetNode(), " ", ev.GetSequence())] = true
	}
	if n := len(c.events()); n != agents*batches*50 || len(seen) != n {
		t.Errorf("%d events, %d different ones, want %d", n, len(seen), agents*batches*50)
	}
}

func TestChanged(t *testing.T) {
	c := newCentre(t, nil)
	a := c.dial()
	a.greet(hello("n", "e"))
	changed := c.committer.Changed()
	select {
	case <-changed:
		t.Error("told of a change that has not happened")
	default:
	}
	a.send(batch(1, 1, 3))
	<-changed
	if n := len(c.events()); n != 3 {
		t.Errorf("%d events after the change, want 3", n)
	}
}
