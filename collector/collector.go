// SPDX-License-Identifier: Apache-2.0

// Package collector is the centre: it puts ingest, identity, findings, notification, queries, the web page and a store
// together behind one address.
//
// It knows agents by the wire only, and imports neither agent nor bpf.
package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/collector/forward"
	"github.com/spoor/spoor/collector/identity"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/notify"
	"github.com/spoor/spoor/collector/query"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/contract"
)

// How often it is looked for events that are older than Options.Retention, and whether the store exceeds Options.MaxBytes: a
// store that takes 30,000 events a second grows by 100 MiB between two looks.
const (
	forgetEvery = time.Hour
	shrinkEvery = 30 * time.Second
)

// Collector takes events from agents and answers people.
type Collector struct {
	o         Options
	listener  net.Listener
	store     store.Store
	committer *ingest.Committer
	ingest    *ingest.Service
	query     *query.Service
	handle    http.Handler
	notifier  *notify.Notifier   // nil without receivers
	forwarder *forward.Forwarder // nil without a collector to forward to
	findings  *finding.Engine
	// What judges are made by. It belongs to the committer's goroutine when that runs.
	contracts *contract.Set
	reloads   *prometheus.CounterVec
	strangers prometheus.Counter
	elsewhere elsewhere
}

// New opens the store and binds the address, so that a taken port or a broken store is an error here. Run must follow, also
// to release them.
func New(o Options) (*Collector, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	c := &Collector{o: o}
	if err := c.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("collector: %w", err), c.close())
	}
	return c, nil
}

func (c *Collector) build() error {
	o := c.o
	var err error
	// The address first: it tells soonest that another collector is at work.
	if c.listener, err = net.Listen("tcp", o.Listen); err != nil {
		return err
	}
	st, err := o.openStore()
	if err != nil {
		return err
	}
	c.store = st
	group := 0 // the default
	_, shared := c.store.(store.Shared)
	if shared {
		group = sharedGroup
	}
	var receivers []notify.Receiver
	if o.AlertmanagerURL != "" {
		am, err := notify.NewAlertmanager(notify.AlertmanagerOptions{URL: o.AlertmanagerURL, WebURL: c.URL()})
		if err != nil {
			return err
		}
		receivers = append(receivers, am)
	}
	var names []string
	for _, r := range receivers {
		names = append(names, r.Name())
	}
	c.contracts = o.Contracts
	findings, err := finding.New(finding.Options{
		Store:    st.Reserved(), // events must not wait for answers
		NewJudge: func() finding.Judge { return contract.NewJudge(c.contracts) },
		// Not asked before Run, when there is a query service.
		Completeness: func(ctx context.Context, from, to time.Time, node string) (*spoorv1.Completeness, error) {
			return c.query.Completeness(ctx, from, to, node)
		},
		Agents: c.agents, Shared: shared,
		Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return err
	}
	c.findings = findings
	resolver, err := identity.New(identity.Options{Registerer: o.Registerer})
	if err != nil {
		return err
	}
	wake := make(chan struct{}, 1)
	c.committer, err = ingest.NewCommitter(ingest.CommitterOptions{
		Store: c.store, Resolver: resolver, Findings: findings, Receivers: names, GroupEvents: group, Logger: o.Logger, Registerer: o.Registerer,
		Told: func() {
			select {
			case wake <- struct{}{}:
			default: // it is awake
			}
		},
	})
	if err != nil {
		return err
	}
	c.ingest, err = ingest.NewService(ingest.ServiceOptions{
		Committer: c.committer, Identify: c.identify, Admit: c.admit, Limits: o.Limits, Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return err
	}
	c.query, err = query.New(query.Options{
		Store: c.store, Findings: people{c.committer}, Connected: c.connected, Notify: c.committer.Changed,
		Version: o.Version, Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return err
	}
	if c.handle, err = c.handler(); err != nil {
		return err
	}
	if err := o.Registerer.Register(&storeMetrics{store: c.store, logger: o.Logger}); err != nil {
		return err
	}
	c.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_contract_reloads_total",
		Help: "Contracts that changed while the collector ran: taken, or refused because they cannot be read.",
	}, []string{"outcome"})
	for _, outcome := range []string{"taken", "refused"} {
		c.reloads.WithLabelValues(outcome)
	}
	c.strangers = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "spoor_collector_closed_connections_total", Help: "Connections on which nothing was asked that were closed because there were too many of them.",
	})
	if err := errors.Join(o.Registerer.Register(c.reloads), o.Registerer.Register(c.strangers)); err != nil {
		return err
	}
	if o.ForwardURL != "" {
		c.forwarder, err = forward.New(forward.Options{
			Source: c.store, Connected: c.ingest.ConnectedNode, Changed: c.committer.Changed, URL: o.ForwardURL, TLS: o.ForwardTLS,
			MarkFile: filepath.Join(o.DataDir, "forwarded.json"), Logger: o.Logger, Registerer: o.Registerer,
		})
		if err != nil {
			return err
		}
	}
	if len(receivers) == 0 {
		return nil
	}
	c.notifier, err = notify.New(notify.Options{
		Outbox: c.store, Receivers: receivers, Wake: wake, Logger: o.Logger, Registerer: o.Registerer,
	})
	return err
}

// agents says of each node that ever reported whether its agent is there.
func (c *Collector) agents(ctx context.Context) ([]finding.Attendance, error) {
	runs, err := c.store.Runs(ctx)
	if err != nil {
		return nil, err
	}
	type node struct{ cluster, name string }
	latest := map[node]time.Time{}
	for i := range runs {
		n := node{runs[i].Cluster, runs[i].Node}
		if seen := runs[i].Seen; seen.After(latest[n]) {
			latest[n] = seen
		}
	}
	all := make([]finding.Attendance, 0, len(latest))
	for n, seen := range latest {
		all = append(all, finding.Attendance{Cluster: n.cluster, Node: n.name, Connected: c.connected(n.cluster, n.name), Seen: seen})
	}
	return all, nil
}

// people lets the query service change findings through the one goroutine that may.
type people struct{ committer *ingest.Committer }

func (p people) Update(ctx context.Context, fingerprint string, state spoorv1.FindingState, note string) (*spoorv1.Finding, error) {
	return p.committer.UpdateFinding(ctx, fingerprint, state, note)
}

// Addr returns the address that is bound.
func (c *Collector) Addr() net.Addr { return c.listener.Addr() }

// URL returns how the address that is bound is asked.
func (c *Collector) URL() string {
	if c.o.TLS != nil {
		return "https://" + c.Addr().String()
	}
	return "http://" + c.Addr().String()
}

// Run takes events and answers until ctx ends; then it commits what it has received, and closes the store.
func (c *Collector) Run(ctx context.Context) error {
	// The order of a stop: no new messages, then the last commit, then the store. Each step has a context of its own.
	committing, stopCommitting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCommitting()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	var committer errgroup.Group
	committer.Go(func() error {
		defer stopServing() // what cannot be committed must not be taken
		return c.committer.Run(committing)
	})
	rest, serving := errgroup.WithContext(serving)
	rest.Go(func() error { return c.serve(serving) })
	if c.notifier != nil {
		rest.Go(func() error { return c.notifier.Run(serving) })
	}
	if c.forwarder != nil {
		rest.Go(func() error { return c.forwarder.Run(serving) })
	}
	if shared, ok := c.store.(store.Shared); ok {
		rest.Go(func() error { return c.attend(serving, shared) })
	}
	if c.o.Reload != nil {
		rest.Go(func() error { return c.reload(serving) })
	}
	if c.o.Retention > 0 || c.o.MaxBytes > 0 {
		rest.Go(func() error { return c.forget(serving) })
	}
	err := rest.Wait()
	stopCommitting()
	if err = errors.Join(err, committer.Wait(), c.close()); err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	return nil
}

// forget removes events that are older than the retention, and the oldest when the store is too large. A store that fails is no
// reason to stop: agents are told, and so is /readyz.
func (c *Collector) forget(ctx context.Context) error {
	tick := time.NewTicker(shrinkEvery)
	defer tick.Stop()
	var aged time.Time
	for {
		if c.o.Retention > 0 && time.Since(aged) >= forgetEvery {
			aged = time.Now()
			n, err := c.store.Forget(ctx, aged.Add(-c.o.Retention))
			c.forgot(n, err, "older than", c.o.Retention)
		}
		if c.o.MaxBytes > 0 {
			n, err := c.store.Shrink(ctx, c.o.MaxBytes)
			c.forgot(n, err, "to take at most bytes", c.o.MaxBytes)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Collector) forgot(events int, err error, why string, limit any) {
	switch {
	case err != nil:
		c.o.Logger.Error("old events could not be forgotten", "error", err, "forgotten", events)
	case events > 0:
		c.o.Logger.Info("forgot old events", "events", events, why, limit)
	}
}

func (c *Collector) close() error {
	var errs []error
	if c.listener != nil {
		if err := c.listener.Close(); !errors.Is(err, net.ErrClosed) { // the server closed it
			errs = append(errs, err)
		}
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}
