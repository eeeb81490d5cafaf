// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/agent/ship"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/internal/credential"
	"github.com/spoor/spoor/cmd/spoor/internal/pki"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/trust"
)

// realm is a collector with everything that `spoor pki` makes.
type realm struct {
	*testing.T
	dir string
	url string
	ca  *pki.Authority
}

func (r *realm) file(name string) string { return filepath.Join(r.dir, name) }

func (r *realm) write(name string) func(p pki.Pair, err error) {
	return func(p pki.Pair, err error) {
		r.Helper()
		if err == nil {
			err = p.Write(r.dir, name, true)
		}
		if err != nil {
			r.Fatal(err)
		}
	}
}

// authority makes a new one: what those before have signed is worth nothing then.
func (r *realm) authority() {
	r.Helper()
	r.write("ca")(pki.NewAuthority("spoor", time.Hour))
	var err error
	if r.ca, err = pki.LoadAuthority(r.dir); err != nil {
		r.Fatal(err)
	}
	r.write("collector")(r.ca.Collector([]string{"127.0.0.1", "localhost"}, time.Hour))
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	r := &realm{T: t, dir: t.TempDir()}
	r.authority()
	people := fmt.Sprintf("[{name: ann, role: viewer, token: %q}, {name: bob, role: responder, clusters: [test], token: %q}]", trust.Digest("ann's"), trust.Digest("bob's"))
	if err := os.WriteFile(r.file("people"), []byte(people), 0o600); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	flags := accessFlags{
		TLSCert: r.file("collector.crt"), TLSKey: r.file("collector.key"), AgentsCA: r.file("ca.crt"), People: r.file("people"), Audit: r.file("audit"),
		Forwarders: map[string]string{"eu": "prod,"},
	}
	who, done, err := flags.open("127.0.0.1:0", logger)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	c, err := collector.New(collector.Options{
		Listen: "127.0.0.1:0", DataDir: filepath.Join(r.dir, "data"), TLS: who.secure, People: who.people, Audit: who.audit, Logger: logger,
		Forwarders: who.forwarders, Registerer: registry, Gatherer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	})
	r.url = c.URL()
	return r
}

// hello begins a stream with a certificate, "" for none, and returns what the collector says to it.
func (r *realm) hello(cert string, h *spoorv1.Hello) error {
	r.Helper()
	files := credential.Files{CA: r.file("ca.crt")}
	if cert != "" {
		files.Cert, files.Key = r.file(cert+".crt"), r.file(cert+".key")
	}
	source, err := credential.Open(files, slog.New(slog.DiscardHandler))
	if err != nil {
		r.Fatal(err)
	}
	config, _ := source.Client()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	stream := spoorv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, r.url, connect.WithGRPC()).Ship(ctx)
	defer func() {
		_ = stream.CloseRequest() // it has served its purpose
		cancel()
		_ = stream.CloseResponse()
	}()
	_ = stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: h}}) // why it failed is told below
	_, err = stream.Receive()
	return err
}

// handshake stands for any error: whoever may not even connect sees that as one of writing, or of reading, as it happens.
const handshake connect.Code = 99

func claim(cluster, node string) *spoorv1.Hello {
	return &spoorv1.Hello{Cluster: cluster, Node: node, Epoch: "e"}
}

func TestAgentsAreWhoTheirCertificatesSay(t *testing.T) {
	r := newRealm(t)
	r.write("a")(r.ca.Agent("prod", "a", time.Hour))
	r.write("expired")(r.ca.Agent("prod", "a", -time.Second))
	for _, test := range []struct {
		cert string
		h    *spoorv1.Hello
		want connect.Code // 0: welcome
	}{
		{"a", claim("prod", "a"), 0},
		{"a", claim("", ""), 0},
		{"a", claim("prod", "b"), connect.CodePermissionDenied},
		{"a", claim("test", "a"), connect.CodePermissionDenied},
		{"", claim("prod", "a"), connect.CodeUnauthenticated},
		{"expired", claim("prod", "a"), handshake},
		{"collector", claim("prod", "a"), handshake}, // it is for servers
	} {
		err := r.hello(test.cert, test.h)
		if err == nil && test.want != 0 || err != nil && test.want != handshake && connect.CodeOf(err) != test.want {
			t.Errorf("who has the certificate %q and says %v: %v, want %v", test.cert, test.h, err, test.want)
		}
	}
	// One of another authority, for the same name.
	elsewhere := &realm{T: t, dir: t.TempDir()}
	elsewhere.authority()
	elsewhere.write("a")(elsewhere.ca.Agent("prod", "a", time.Hour))
	for _, name := range []string{"a.crt", "a.key"} {
		if err := os.Rename(elsewhere.file(name), r.file(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.hello("a", claim("prod", "a")); err == nil {
		t.Error("a certificate of another authority is welcome")
	}
}

// TestCertificatesAreRenewedWithoutARestart replaces everything, the authority too, under a collector and an agent that go on.
func TestCertificatesAreRenewedWithoutARestart(t *testing.T) {
	r := newRealm(t)
	r.write("a")(r.ca.Agent("prod", "a", time.Hour))
	logger := slog.New(slog.DiscardHandler)
	source, err := credential.Open(credential.Files{Cert: r.file("a.crt"), Key: r.file("a.key"), CA: r.file("ca.crt")}, logger)
	if err != nil {
		t.Fatal(err)
	}
	queue := ship.NewQueue(ship.QueueOptions{Limit: 100, Logger: logger})
	client := ship.NewClient(ship.Options{URL: r.url, TLS: source.Client, Queue: queue, Hello: claim("prod", "a"), Logger: logger})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	bring := func() {
		t.Helper()
		queue.Add(&spoorv1.Record{
			TimeUnixNano: uint64(time.Now().UnixNano()), Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{Count: 1, Source: "test", Reason: "test"}},
		}, nil, &spoorv1.Instance{Id: "i"})
		limited, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := client.Drain(limited); err != nil {
			t.Fatal(err)
		}
	}
	bring()
	before := r.serial()
	r.authority()
	r.write("a")(r.ca.Agent("prod", "a", time.Hour))
	for deadline := time.Now().Add(time.Minute); r.serial() == before; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the collector goes on with its old certificate")
		}
	}
	// A second stream of the node ends the agent's, which must come again with what is new.
	if err := r.hello("a", claim("prod", "a")); err != nil {
		t.Fatal(err)
	}
	bring()
}

// serial returns the serial number of the certificate that the collector shows.
func (r *realm) serial() string {
	r.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestPeopleAskWithTokens(t *testing.T) {
	r := newRealm(t)
	ask := func(token string) spoorv1connect.QueryServiceClient {
		asker, err := (&remote{Collector: r.url, CA: r.file("ca.crt"), Token: token, Timeout: time.Minute}).dial()
		if err != nil {
			t.Fatal(err)
		}
		return asker
	}
	status := func(token string) error {
		_, err := ask(token).GetStatus(t.Context(), connect.NewRequest(&spoorv1.GetStatusRequest{}))
		return err
	}
	if err := status("ann's"); err != nil {
		t.Errorf("ann: %v", err)
	}
	for _, token := range []string{"", "mine"} {
		if err := status(token); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("with the token %q: %v", token, err)
		}
	}
	if _, err := ask("ann's").RunSQL(t.Context(), connect.NewRequest(&spoorv1.RunSQLRequest{Query: "SELECT 1"})); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("ann, a viewer, runs SQL: %v", err)
	}
	// Streams are narrowed as well.
	follow := func(workload string) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := ask("bob's").FollowEvents(ctx, connect.NewRequest(&spoorv1.FollowEventsRequest{Filter: &spoorv1.EventFilter{Workload: workload}}))
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		stream.Receive()
		return stream.Err()
	}
	if err := follow("prod/*/*/*"); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("bob, of test, follows prod: %v", err)
	}
	// What needs no token, and what does.
	config := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer config.CloseIdleConnections()
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 401, "/": 401, "/app.js": 401} {
		response, err := (&http.Client{Transport: config}).Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s without a token: %d, want %d", path, response.StatusCode, want)
		}
	}
	audit, err := os.ReadFile(r.file("audit"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`"who":"ann","role":"viewer","from":"127.0.0.1:`, `"method":"GetStatus","asked":"{}","outcome":"ok"`, `SELECT 1`, `"outcome":"permission_denied"`, `"method":"FollowEvents"`,
	} {
		if !strings.Contains(string(audit), line) {
			t.Errorf("the audit log does not say %s:\n%s", line, audit)
		}
	}
}

// Each way of asking wrongly has words of its own.
func TestWhoAsksWronglyIsToldHowToAsk(t *testing.T) {
	r := newRealm(t)
	plain := "http://" + strings.TrimPrefix(r.url, "https://")
	for _, c := range []struct {
		problem string
		asking  remote
	}{
		{"wants to know who asks", remote{Collector: r.url, CA: r.file("ca.crt")}},
		{"does not know this token", remote{Collector: r.url, CA: r.file("ca.crt"), Token: "mine"}},
		{"of an authority that is not trusted here", remote{Collector: r.url, Token: "ann's"}},
		{"wants TLS", remote{Collector: plain, Token: "ann's"}},
	} {
		c.asking.Timeout = time.Minute
		asker, err := c.asking.dial()
		if err != nil {
			t.Fatal(err)
		}
		_, err = ask(t.Context(), asker, asker.GetStatus, &spoorv1.GetStatusRequest{})
		failure, ok := errors.AsType[*cli.Failure](err)
		if !ok || failure.Code != cli.CodeBadInput || !strings.Contains(failure.Error(), c.problem) || failure.Fix == "" {
			t.Errorf("%+v: %v; want that it %s, and what helps", c.asking, err, c.problem)
		}
	}
}
