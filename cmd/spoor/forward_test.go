// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/agent/ship"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/spoor/internal/pki"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/trust"
)

// tell brings one event of a node to a collector.
func tell(t *testing.T, url, cluster, node string) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	queue := ship.NewQueue(ship.QueueOptions{Limit: 100, Logger: logger})
	client := ship.NewClient(ship.Options{URL: url, Queue: queue, Hello: &spoorv1.Hello{Cluster: cluster, Node: node, Epoch: "epoch-" + node}, Logger: logger})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	queue.Add(&spoorv1.Record{
		TimeUnixNano: uint64(time.Now().UnixNano()), Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{Count: 1, Source: "test", Reason: "test"}},
	}, nil, &spoorv1.Instance{Id: "i", Workload: &spoorv1.Workload{Cluster: cluster, Name: "w"}})
	limited, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Drain(limited); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestForwardersSpeakForTheirClusters: a collector that forwards is believed for the clusters that the other one has under its name, and
// what it says of others holds up nothing.
func TestForwardersSpeakForTheirClusters(t *testing.T) {
	r := newRealm(t)
	named := func(name string) (pki.Pair, error) {
		uri, err := trust.ForwarderURI("spoor", name)
		if err != nil {
			t.Fatal(err)
		}
		return r.ca.Named(uri, name, time.Hour)
	}
	r.write("eu")(named("eu"))
	r.write("us")(named("us"))
	for _, test := range []struct {
		cert string
		h    *spoorv1.Hello
		want connect.Code // 0: welcome
	}{
		{"eu", claim("prod", "a"), 0},
		{"eu", claim("", "a"), 0},
		{"eu", claim("test", "a"), connect.CodePermissionDenied},
		{"eu", claim("prod", ""), connect.CodeInvalidArgument},
		{"us", claim("prod", "a"), connect.CodePermissionDenied},
	} {
		if err := r.hello(test.cert, test.h); (err == nil) != (test.want == 0) || err != nil && connect.CodeOf(err) != test.want {
			t.Errorf("the collector %s says %v: %v, want %v", test.cert, test.h, err, test.want)
		}
	}

	flags := forwardFlags{Forward: r.url, ForwardCert: r.file("eu.crt"), ForwardKey: r.file("eu.key"), ForwardCA: r.file("ca.crt")}
	to, err := flags.open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	local, err := collector.New(collector.Options{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), ForwardURL: to.url, ForwardTLS: to.secure, Logger: slog.New(slog.DiscardHandler), Registerer: registry, Gatherer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- local.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for _, node := range [][2]string{{"test", "x"}, {"prod", "y"}, {"", "z"}} {
		tell(t, local.URL(), node[0], node[1])
	}
	asker, err := (&remote{Collector: r.url, CA: r.file("ca.crt"), Token: "ann's", Timeout: time.Minute}).dial()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		answer, err := asker.ListEvents(t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		var nodes []string
		for _, ev := range answer.Msg.GetEvents() {
			nodes = append(nodes, ev.GetNode())
		}
		slices.Sort(nodes)
		if got := strings.Join(nodes, " "); got == "y z" {
			return
		} else if strings.Contains(got, "x") || time.Now().After(deadline) {
			t.Fatalf("there are events of the nodes %q, want y and z", got)
		}
	}
}
