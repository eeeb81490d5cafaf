// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/query"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the tests play.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// patience is how long a test waits for what must come.
const patience = time.Minute

var (
	runA = store.Run{Cluster: "c1", Node: "a", Epoch: "first"}
	runB = store.Run{Cluster: "c1", Node: "b", Epoch: "first"}
)

// centre is a service over a real store, asked through a real client.
type centre struct {
	*testing.T
	spoorv1connect.QueryServiceClient
	store    *sqlite.Store
	service  *query.Service
	registry *prometheus.Registry

	mu           sync.Mutex
	committed    chan struct{}
	disconnected map[string]bool
	batches      map[store.Run]uint64
	sequences    map[store.Run]uint64
	ahead        map[store.Run]time.Duration // the clock of who tells it
	lastID       uint64
}

func start(t *testing.T, change func(*query.Options)) *centre {
	t.Helper()
	s, err := sqlite.Open(sqlite.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &centre{
		T: t, store: s, registry: prometheus.NewRegistry(), committed: make(chan struct{}), disconnected: map[string]bool{},
		batches: map[store.Run]uint64{}, sequences: map[store.Run]uint64{}, ahead: map[store.Run]time.Duration{},
	}
	o := query.Options{
		Store: s, Findings: c, Version: "v1.2.3", Now: func() time.Time { return noon }, Registerer: c.registry,
		Connected: func(_, node string) bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.disconnected[node] },
		Notify:    func() <-chan struct{} { c.mu.Lock(); defer c.mu.Unlock(); return c.committed },
		Poll:      time.Hour,
	}
	if change != nil {
		change(&o)
	}
	if c.service, err = query.New(o); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(c.service.Handler())
	server := httptest.NewServer(mux)
	server.Config.RegisterOnShutdown(c.service.Stop)
	t.Cleanup(server.Close)
	t.Cleanup(c.service.Stop)
	c.QueryServiceClient = spoorv1connect.NewQueryServiceClient(server.Client(), server.URL)
	return c
}

func (c *centre) write(w *store.Write) {
	c.Helper()
	if err := c.store.Write(context.Background(), w); err != nil {
		c.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.committed)
	c.committed = make(chan struct{})
}

// hello makes a run known that began at start and was last heard of at seen.
func (c *centre) hello(run store.Run, start, seen time.Time) {
	c.Helper()
	c.write(&store.Write{Runs: []store.Hello{{Run: run, Version: "v1.0.0", KernelRelease: "6.1.0", Start: start, Seen: seen}}})
}

// commit stores events of a run as one batch, numbering those that have no number.
func (c *centre) commit(run store.Run, evs ...*spoorv1.Event) []*spoorv1.Event {
	c.Helper()
	c.batches[run]++
	for _, ev := range evs {
		c.lastID++
		c.sequences[run]++
		if ev.GetSequence() == 0 {
			ev.Sequence = c.sequences[run]
		}
		c.sequences[run] = ev.GetSequence()
		ev.Id, ev.Epoch, ev.Node, ev.Kind = c.lastID, run.Epoch, run.Node, store.KindOf(ev).String()
	}
	received, ahead := evs[len(evs)-1].GetTime().AsTime(), c.ahead[run]
	for _, ev := range evs {
		ev.Time = timestamppb.New(ev.GetTime().AsTime().Add(ahead))
	}
	c.write(&store.Write{Batches: []store.Batch{{Run: run, Sequence: c.batches[run], Received: received, Skew: ahead, Events: evs}}})
	return evs
}

// find stores a finding.
func (c *centre) find(f *spoorv1.Finding) {
	c.Helper()
	c.write(&store.Write{Findings: []store.FindingChange{{Finding: f}}})
}

// Update implements query.Findings.
func (c *centre) Update(ctx context.Context, fingerprint string, state spoorv1.FindingState, note string) (*spoorv1.Finding, error) {
	f, err := c.store.Finding(ctx, fingerprint)
	if err != nil {
		return nil, err
	}
	f = proto.CloneOf(f)
	f.State, f.Note = state, note
	return f, c.store.Write(ctx, &store.Write{Findings: []store.FindingChange{{Finding: f}}})
}

func at(seconds int) *timestamppb.Timestamp {
	return timestamppb.New(noon.Add(time.Duration(seconds) * time.Second))
}

func workload(name string) *spoorv1.Workload {
	return &spoorv1.Workload{Cluster: "c1", Namespace: "shop", Kind: "Deployment", Name: name}
}

// process is a process of a workload whose exec_id begins with id.
func process(id, parent string, tgid uint32) *spoorv1.Process {
	full := func(s string) string {
		if s == "" {
			return ""
		}
		return s + strings.Repeat("a", 16-len(s))
	}
	return &spoorv1.Process{ExecId: full(id), ParentExecId: full(parent), Tgid: tgid, Comm: "app", Exe: "/usr/bin/app", StartTime: at(0)}
}

func of(name string, p *spoorv1.Process, ev *spoorv1.Event) *spoorv1.Event {
	ev.Instance = &spoorv1.Instance{Id: "i-" + name, Workload: workload(name)}
	ev.Process = p
	return ev
}

func started(seconds int) *spoorv1.Event {
	return &spoorv1.Event{Time: at(seconds), Fact: &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}}
}

func wrote(seconds int, path string) *spoorv1.Event {
	return &spoorv1.Event{Time: at(seconds), Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{
		File: &spoorv1.File{Path: path, Dev: 1, Inode: 7, FsType: "ext4"}, Changes: 1, Data: true,
	}}}
}

func called(seconds int, peer string) *spoorv1.Event {
	return &spoorv1.Event{Time: at(seconds), Fact: &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND,
		Local: &spoorv1.Endpoint{Address: "10.0.0.1"}, Peer: &spoorv1.Endpoint{Address: peer, Port: 443}, Opened: 1,
		First: at(seconds), Last: at(seconds),
	}}}
}

func lost(seconds int, source, reason string, count uint64) *spoorv1.Event {
	return &spoorv1.Event{Time: at(seconds), Fact: &spoorv1.Event_Loss{Loss: &spoorv1.Loss{Source: source, Reason: reason, Count: count}}}
}

func covers(sensor, tier, reason string) *spoorv1.Event {
	return &spoorv1.Event{Time: at(0), Fact: &spoorv1.Event_Coverage{Coverage: &spoorv1.Coverage{Sensor: sensor, Tier: tier, Reason: reason}}}
}

func finding(fingerprint string, state spoorv1.FindingState, evidence ...uint64) *spoorv1.Finding {
	fingerprint += strings.Repeat("0", 64-len(fingerprint))
	return &spoorv1.Finding{
		Id: fingerprint[:10], Fingerprint: fingerprint, Rule: "state.local", Severity: spoorv1.Severity_SEVERITY_HIGH, Workload: workload("checkout"),
		Title: "it keeps a file", State: state, FirstSeen: at(0), LastSeen: at(0), Count: 1, EvidenceIds: evidence,
		Completeness: &spoorv1.Completeness{Complete: true},
	}
}

const (
	isOpen         = spoorv1.FindingState_FINDING_STATE_OPEN
	isAcknowledged = spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED
	isResolved     = spoorv1.FindingState_FINDING_STATE_RESOLVED
	isExpired      = spoorv1.FindingState_FINDING_STATE_EXPIRED
)

// ask calls a method that must answer.
func ask[Q, A any](t *testing.T, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q) *A {
	t.Helper()
	response, err := call(t.Context(), connect.NewRequest(request))
	if err != nil {
		t.Fatalf("%T: %v", request, err)
	}
	return response.Msg
}

// refused calls a method that must answer with code and a message with all of words.
func refused[Q, A any](t *testing.T, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q, code connect.Code, words ...string) {
	t.Helper()
	_, err := call(t.Context(), connect.NewRequest(request))
	if connect.CodeOf(err) != code {
		t.Errorf("%T %v: %v, want the code %v", request, request, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%T %v: %q does not say %q", request, request, err, word)
		}
	}
}

func ids(evs []*spoorv1.Event) string {
	out := make([]string, len(evs))
	for i, ev := range evs {
		out[i] = fmt.Sprint(ev.GetId())
	}
	return strings.Join(out, " ")
}
