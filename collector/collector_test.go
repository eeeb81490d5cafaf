// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/contract"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	if dir := os.Getenv(backupDir); dir != "" {
		os.Exit(backUp(dir, os.Getenv(backupInto)))
	}
	goleak.VerifyTestMain(m)
}

// centre is a collector that runs.
type centre struct {
	*collector.Collector
	t    *testing.T
	url  string
	stop func() error
}

func start(t *testing.T, o collector.Options) *centre {
	t.Helper()
	o.Listen = "127.0.0.1:0"
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	registry := prometheus.NewRegistry()
	o.Logger, o.Registerer, o.Gatherer = slog.New(slog.DiscardHandler), registry, registry
	c, err := collector.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	s := &centre{Collector: c, t: t, url: "http://" + c.Addr().String()}
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

func (c *centre) people() spoorv1connect.QueryServiceClient {
	return spoorv1connect.NewQueryServiceClient(http.DefaultClient, c.url)
}

func (c *centre) ship(a *agent, batches ...*spoorv1.Batch) {
	c.t.Helper()
	a.waiting = append(a.waiting, batches...)
	if err := a.ship(c.t.Context(), c.url, nil); err != nil {
		c.t.Fatal(err)
	}
	a.transport.CloseIdleConnections()
}

// get returns the status and the body of a page.
func (c *centre) get(path string) (int, string) {
	c.t.Helper()
	res, err := http.Get(c.url + path)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// alertmanager is what of it the notifier needs: it keeps the last state of each alert.
type alertmanager struct {
	*httptest.Server
	mu     sync.Mutex
	alerts map[string]time.Time // when they end, by alertname and name of the workload
}

func newAlertmanager(t *testing.T) *alertmanager {
	a := &alertmanager{alerts: map[string]time.Time{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var alerts []struct {
			Labels map[string]string `json:"labels"`
			EndsAt time.Time         `json:"endsAt"`
		}
		if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil || r.URL.Path != "/api/v2/alerts" {
			http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, alert := range alerts {
			a.alerts[alert.Labels["alertname"]] = alert.EndsAt
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *alertmanager) fires(rule string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.alerts[rule].After(time.Now())
}

// TestFromAgentToPerson: two nodes, one call that was not agreed to, and everything that people see of it.
func TestFromAgentToPerson(t *testing.T) {
	set, err := contract.Load(fstest.MapFS{"web.yaml": {Data: []byte(`apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: web, namespace: shop}
spec:
  workload: {kind: Deployment, name: web}
  owner: {team: shop}
  calls: [{workload: shop/Deployment/cache, port: 6379}]
`)}})
	if err != nil {
		t.Fatal(err)
	}
	am := newAlertmanager(t)
	c := start(t, collector.Options{Contracts: set, AlertmanagerURL: am.URL, Version: "v1.2.3"})

	web, db := newStory("node1", "web"), newStory("node2", "db")
	client, server := web.process("client"), db.process("server")
	web.tell(client, started())
	web.tell(client, calls("10.0.0.1", "10.0.0.2", 5432, 40000))
	db.tell(server, called("10.0.0.2", 5432, "10.0.0.1", 40000))
	agents := []*agent{newAgent("node1"), newAgent("node2")}
	c.ship(agents[0], web.next())
	c.ship(agents[1], db.next())

	people := c.people()
	list, err := people.ListEvents(t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Kinds: []string{"flow"}}}))
	if err != nil {
		t.Fatal(err)
	}
	flows := list.Msg.GetEvents()
	if len(flows) != 2 || flows[0].GetFlow().GetPeer().GetExecId() != server.GetExecId() || flows[1].GetFlow().GetPeer().GetExecId() != client.GetExecId() {
		t.Errorf("flows do not name both ends: %v", flows)
	}
	edges, err := people.ListEdges(t.Context(), connect.NewRequest(&spoorv1.ListEdgesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if e := edges.Msg.GetEdges(); len(e) != 1 || e[0].GetFrom().GetWorkload().GetName() != "web" || e[0].GetTo().GetWorkload().GetName() != "db" ||
		!e[0].GetSeenByCaller() || !e[0].GetSeenByCalled() || e[0].GetOpened() != 1 || e[0].GetBytesSent() != 10 {
		t.Errorf("edges: %v", e)
	}

	var found []*spoorv1.Finding
	eventually(t, "finding", func() bool {
		res, err := people.ListFindings(t.Context(), connect.NewRequest(&spoorv1.ListFindingsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		found = res.Msg.GetFindings()
		return len(found) > 0
	})
	f := found[0]
	if len(found) != 1 || f.GetRule() != contract.RuleFlowEgress || f.GetOwner().GetTeam() != "shop" || f.GetContract() != "shop/web" {
		t.Errorf("findings: %v", found)
	}
	one, err := people.GetFinding(t.Context(), connect.NewRequest(&spoorv1.GetFindingRequest{Id: f.GetId()}))
	if err != nil {
		t.Fatal(err)
	}
	if ev := one.Msg.GetEvidence(); len(ev) == 0 || ev[0].GetFlow().GetPeer().GetWorkload().GetName() != "db" {
		t.Errorf("evidence: %v", ev)
	}
	eventually(t, "alert", func() bool { return am.fires(contract.RuleFlowEgress) })
	_, err = people.UpdateFinding(t.Context(), connect.NewRequest(&spoorv1.UpdateFindingRequest{
		Id: f.GetId()[:4], State: spoorv1.FindingState_FINDING_STATE_RESOLVED, Note: "agreed",
	}))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the alert", func() bool { return !am.fires(contract.RuleFlowEgress) })

	tree, err := people.GetTree(t.Context(), connect.NewRequest(&spoorv1.GetTreeRequest{ExecId: client.GetExecId()}))
	if err != nil || len(tree.Msg.GetNodes()) != 1 || tree.Msg.GetNodes()[0].GetNode() != "node1" {
		t.Errorf("tree: %v (%v)", tree, err)
	}
	rows, err := people.RunSQL(t.Context(), connect.NewRequest(&spoorv1.RunSQLRequest{Query: "SELECT peer_workload FROM flows ORDER BY id"}))
	if err != nil || len(rows.Msg.GetRows()) != 2 || rows.Msg.GetRows()[0].GetValues()[0].GetText() != "db" {
		t.Errorf("SQL: %v (%v)", rows, err)
	}
	status, err := people.GetStatus(t.Context(), connect.NewRequest(&spoorv1.GetStatusRequest{}))
	if err != nil || status.Msg.GetVersion() != "v1.2.3" || len(status.Msg.GetAgents()) != 2 || status.Msg.GetEvents() != 3 {
		t.Errorf("status: %v (%v)", status, err)
	}
	for path, want := range map[string]string{
		"/": "<html", "/healthz": "ok", "/readyz": "ok", "/metrics": `spoor_collector_ingest_events_total{kind="flow"} 2`,
	} {
		if code, body := c.get(path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q:\n%.2000s", path, code, want, body)
		}
	}
	if _, body := c.get("/metrics"); !strings.Contains(body, "spoor_collector_store_events 3") {
		t.Errorf("no metrics of the store:\n%s", body)
	}
	if code, _ := c.get("/nothing"); code != http.StatusNotFound {
		t.Errorf("a page that does not exist: %d", code)
	}
}

// TestRestart: what was seen before is known afterwards, in the store and in memory.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	web, db := newStory("node1", "web"), newStory("node2", "db")
	client, server := web.process("client"), db.process("server")
	web.tell(client, calls("10.0.0.1", "10.0.0.2", 5432, 40000))
	a := newAgent("node1")
	first := start(t, collector.Options{DataDir: dir})
	first.ship(a, web.next())
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, collector.Options{DataDir: dir})
	db.tell(server, called("10.0.0.2", 5432, "10.0.0.1", 40000))
	second.ship(newAgent("node2"), db.next())
	list, err := second.people().ListEvents(t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	evs := list.Msg.GetEvents()
	if len(evs) != 2 || evs[0].GetFlow().GetPeer().GetExecId() != server.GetExecId() || evs[1].GetFlow().GetPeer().GetExecId() != client.GetExecId() {
		t.Errorf("a flow from before the restart is not joined with its other half: %v", evs)
	}
	// The agent of node1 is welcomed with what it has shipped.
	if err := a.ship(t.Context(), second.url, nil); err != nil || a.acknowledged != 1 {
		t.Errorf("welcomed with %d (%v), want 1", a.acknowledged, err)
	}
	a.transport.CloseIdleConnections()
}

// TestStop: streams of agents and followers end by themselves, and what was sent is kept.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	c := start(t, collector.Options{DataDir: dir})
	s := newStory("node1", "web")
	s.tell(s.process("p"), started())
	c.ship(newAgent("node1"), s.next())
	following, err := c.people().FollowEvents(t.Context(), connect.NewRequest(&spoorv1.FollowEventsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if !following.Receive() || len(following.Msg().GetEvents()) != 1 {
		t.Fatalf("the follower gets %v (%v)", following.Msg(), following.Err())
	}
	idle := newAgent("node2")
	ended := make(chan error, 1)
	shipped := make(chan struct{})
	go func() {
		story := newStory("node2", "web")
		p := story.process("p")
		ended <- idle.ship(context.Background(), c.url, func() *spoorv1.Batch {
			if story.batches == 100 {
				close(shipped)
			}
			story.tell(p, started())
			return story.next()
		})
	}()
	<-shipped
	begun := time.Now()
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 9*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if err := <-ended; connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the agent's stream ends with %v, want unavailable", err)
	}
	for following.Receive() {
	}
	if connect.CodeOf(following.Err()) != connect.CodeUnavailable {
		t.Errorf("the follower ends with %v, want unavailable", following.Err())
	}
	if err := following.Close(); err != nil {
		t.Error(err)
	}
	idle.transport.CloseIdleConnections()
	again := start(t, collector.Options{DataDir: dir})
	list, err := again.people().ListEvents(t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{Node: "node2"}, Limit: 10000}))
	if err != nil {
		t.Fatal(err)
	}
	if n := uint64(len(list.Msg.GetEvents())); n < idle.acknowledged {
		t.Errorf("%d events, but %d batches of one were acknowledged", n, idle.acknowledged)
	}
}

func TestErrorsOfNew(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    collector.Options
		want string
		is   error
	}{
		"taken port":            {collector.Options{Listen: taken.Addr().String(), DataDir: t.TempDir()}, "address already in use", syscall.EADDRINUSE},
		"no folder":             {collector.Options{}, "DataDir", nil},
		"folder that is a file": {collector.Options{Listen: "127.0.0.1:0", DataDir: file}, file, syscall.ENOTDIR},
		"no address":            {collector.Options{Listen: "nowhere", DataDir: t.TempDir()}, "Listen", nil},
		"no Alertmanager":       {collector.Options{Listen: "127.0.0.1:0", DataDir: t.TempDir(), AlertmanagerURL: "nowhere"}, "nowhere", nil},
		"negative retention":    {collector.Options{DataDir: t.TempDir(), Retention: -1}, "Retention", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := collector.New(c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
