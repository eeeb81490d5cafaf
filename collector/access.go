// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/trust"
	"github.com/spoor/spoor/collector/web"
)

// OnLoopback reports whether nobody but this host can reach an address. What is none nobody can.
func OnLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err != nil || host == "localhost" || net.ParseIP(host).IsLoopback()
}

// handler answers everything that comes to the one address. With TLS, agents prove who they are by certificates and people by
// tokens; without, the address is a loopback one, and whoever is on this host may do everything, unless people are named.
func (c *Collector) handler() (http.Handler, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_refused_requests_total", Help: "Requests of people that were refused before they were read: under a name that is not ours (host), or without a token that is known (token).",
	}, []string{"reason"})
	if err := c.o.Registerer.Register(refused); err != nil {
		return nil, err
	}
	people := http.NewServeMux()
	people.Handle(c.query.Handler(connect.WithReadMaxBytes(maxQuestion), connect.WithInterceptors(&trust.Interceptor{Audit: c.o.Audit, Finding: c.finding})))
	people.Handle("GET /metrics", promhttp.HandlerFor(c.o.Gatherer, promhttp.HandlerOpts{}))
	people.Handle("/debug/pprof/", c.profiles())
	people.Handle("/", web.Handler())

	mux := http.NewServeMux()
	mux.Handle(c.ingest.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.committer.Healthy(); err != nil {
			http.Error(w, "cannot commit: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	if c.o.TLS == nil && c.o.People == nil {
		mux.Handle("/", people)
	} else {
		mux.Handle("/", c.o.People.Guard(people, refused.WithLabelValues("token").Inc))
	}
	if c.o.TLS != nil {
		return mux, nil
	}
	return trust.Hosts(c.o.Hosts, mux, refused.WithLabelValues("host").Inc), nil
}

// identify takes the word of agents on loopback, and of their certificates elsewhere; that of a collector may speak for agents.
func (c *Collector) identify(ctx context.Context, hello *spoorv1.Hello) (cluster, node string, err error) {
	if c.o.TLS == nil {
		return hello.GetCluster(), hello.GetNode(), nil
	}
	return trust.Agent(ingest.PeerCertificate(ctx), hello, c.o.Forwarders)
}

// admit lets agents begin, before they say who they are, when their certificates may be theirs.
func (c *Collector) admit(ctx context.Context) error {
	_, _, err := c.identify(ctx, &spoorv1.Hello{})
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		return err
	}
	return nil // what else is wrong is said to its hello
}

// finding returns a finding by what a request calls it.
func (c *Collector) finding(ctx context.Context, id string) (*spoorv1.Finding, error) {
	response, err := c.query.GetFinding(ctx, connect.NewRequest(&spoorv1.GetFindingRequest{Id: id}))
	if err != nil {
		return nil, err
	}
	return response.Msg.GetFinding(), nil
}
