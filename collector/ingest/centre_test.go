// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/collector/identity"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"github.com/spoor/spoor/contract"
)

// flaky is a store whose writes fail, or take until it is let go, while it is told to.
type flaky struct {
	*sqlite.Store
	broken atomic.Bool
	held   sync.RWMutex
	disk   atomic.Pointer[func() error] // instead of the real one
}

func (f *flaky) Write(ctx context.Context, w *store.Write) error {
	durable, err := f.WriteAhead(ctx, w)
	if err != nil {
		return err
	}
	return durable()
}

func (f *flaky) WriteAhead(ctx context.Context, w *store.Write) (func() error, error) {
	f.held.RLock()
	defer f.held.RUnlock()
	if f.broken.Load() {
		return nil, errors.New("no space left on device")
	}
	durable, err := f.Store.WriteAhead(ctx, w)
	if disk := f.disk.Load(); disk != nil && err == nil {
		return *disk, nil
	}
	return durable, err
}

// centre is an ingest service that listens, over a real store.
type centre struct {
	t         testing.TB
	store     *flaky
	committer *ingest.Committer
	service   *ingest.Service
	registry  *prometheus.Registry
	url       string
	transport *http.Transport
}

func newCentre(t testing.TB, change func(*ingest.ServiceOptions)) *centre {
	t.Helper()
	c := &centre{t: t, registry: prometheus.NewRegistry()}
	log := slog.New(slog.DiscardHandler)
	s, err := sqlite.Open(sqlite.Options{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	c.store = &flaky{Store: s}
	resolver, err := identity.New(identity.Options{Registerer: c.registry})
	if err != nil {
		t.Fatal(err)
	}
	findings, err := finding.New(finding.Options{
		Store: s, NewJudge: func() finding.Judge { return contract.NewJudge(nil) }, Logger: log, Registerer: c.registry,
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.committer, err = ingest.NewCommitter(ingest.CommitterOptions{Store: c.store, Resolver: resolver, Findings: findings, Logger: log, Registerer: c.registry})
	if err != nil {
		t.Fatal(err)
	}
	o := ingest.ServiceOptions{Committer: c.committer, Logger: log, Registerer: c.registry}
	if change != nil {
		change(&o)
	}
	if c.service, err = ingest.NewService(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	committed := make(chan error, 1)
	go func() { committed <- c.committer.Run(ctx) }()

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.Handle(c.service.Handler())
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	c.url = "http://" + listener.Addr().String()
	only2 := new(http.Protocols)
	only2.SetUnencryptedHTTP2(true)
	c.transport = &http.Transport{Protocols: only2}
	t.Cleanup(func() {
		c.service.Stop()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("shut down: %v", err)
		}
		_ = <-served
		cancel()
		if err := <-committed; err != nil {
			t.Errorf("committer: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		c.transport.CloseIdleConnections()
	})
	return c
}

// events returns everything that is stored.
func (c *centre) events() []*spoorv1.Event {
	c.t.Helper()
	page, err := c.store.Events(c.t.Context(), store.EventQuery{Limit: 1_000_000})
	if err != nil {
		c.t.Fatal(err)
	}
	return page.Events
}

// agent is the other end of a stream.
type agent struct {
	t testing.TB
	*connect.BidiStreamForClient[spoorv1.ShipRequest, spoorv1.ShipResponse]
	cancel context.CancelFunc
}

func (c *centre) dial() *agent {
	ctx, cancel := context.WithCancel(context.Background())
	client := spoorv1connect.NewAgentServiceClient(&http.Client{Transport: c.transport}, c.url, connect.WithGRPC())
	a := &agent{c.t, client.Ship(ctx), cancel}
	c.t.Cleanup(a.hangUp)
	return a
}

func (a *agent) hangUp() {
	a.cancel()
	_ = a.CloseRequest()
	_ = a.CloseResponse()
}

func hello(node, epoch string) *spoorv1.Hello {
	return &spoorv1.Hello{Cluster: "c", Node: node, Epoch: epoch, BootId: "b", Version: "v", KernelRelease: "6.1", StartTime: timestamppb.Now()}
}

// try sends what may be refused before all of it is sent; the refusal comes with the next receive.
func (a *agent) try(m *spoorv1.ShipRequest) {
	a.t.Helper()
	if err := a.Send(m); err != nil && !errors.Is(err, io.EOF) {
		a.t.Fatal(err)
	}
}

// greet says hello and returns what the collector has.
func (a *agent) greet(h *spoorv1.Hello) uint64 {
	a.t.Helper()
	if err := a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: h}}); err != nil {
		a.t.Fatal(err)
	}
	m, err := a.Receive()
	if err != nil {
		a.t.Fatalf("welcome: %v", err)
	}
	if m.GetWelcome() == nil {
		a.t.Fatalf("%v instead of a welcome", m)
	}
	return m.GetWelcome().GetAcknowledged()
}

func (a *agent) send(b *spoorv1.Batch) {
	a.t.Helper()
	if err := a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}}); err != nil {
		a.t.Fatalf("send: %v", err)
	}
}

// acknowledged waits for an acknowledgement of a batch or a later one.
func (a *agent) acknowledged(sequence uint64) {
	a.t.Helper()
	for {
		m, err := a.Receive()
		if err != nil {
			a.t.Fatalf("acknowledgement of %d: %v", sequence, err)
		}
		if m.GetAcknowledge().GetSequence() >= sequence {
			return
		}
	}
}

// ended returns the code with which the collector ends the stream.
func (a *agent) ended() (connect.Code, string) {
	a.t.Helper()
	for {
		if _, err := a.Receive(); err != nil {
			return connect.CodeOf(err), err.Error()
		}
	}
}

// batch has n events, numbered from first.
func batch(sequence, first uint64, n int) *spoorv1.Batch {
	b := &spoorv1.Batch{
		Sequence: sequence, Sent: timestamppb.Now(),
		Instances:        []*spoorv1.Instance{{Id: "i", Workload: &spoorv1.Workload{Kind: "Unit", Name: "web"}}},
		Processes:        []*spoorv1.Process{{ExecId: "p", Comm: "web"}},
		ProcessInstances: []uint32{0},
	}
	for i := range n {
		b.Records = append(b.Records, &spoorv1.Record{
			Sequence: first + uint64(i), TimeUnixNano: uint64(time.Now().UnixNano()), Process: 1, Instance: 1,
			Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: fmt.Sprint("/tmp/", i)}}},
		})
	}
	return b
}

// until waits for a metric to have a value.
func (c *centre) until(name, label string, value float64) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); c.counter(name, label) != value; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s of %s is %v after a minute, want %v", name, label, c.counter(name, label), value)
		}
	}
}

// counter finds a metric, a counter or a gauge, by its only label.
func (c *centre) counter(name, label string) float64 {
	c.t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	c.t.Fatalf("no metric %s of %s", name, label)
	return 0
}
