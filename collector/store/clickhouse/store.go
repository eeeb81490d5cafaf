// SPDX-License-Identifier: Apache-2.0

// Package clickhouse keeps events in ClickHouse: the engine for fleets, that any number of collectors write to.
//
// Events are rows of one table, everything else (positions of agents, findings, outboxes, what flows add up to, and which transactions there were) is
// in a second one, the ledger. ClickHouse has no transactions over several inserts, but it takes an insert of one block wholly or not at all, and
// of several inserts with one token only the first. Of these two the ledger makes transactions: see transaction.go and docs/decisions/074.
//
// It must not know the wire, the judge or who asks.
package clickhouse

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector/store"
)

// Options of Open. Zero values mean the defaults.
type Options struct {
	Address *Address // required
	// TLS is for servers with Address.Secure: the authorities of this host.
	TLS *tls.Config
	// Retention is how long events are kept at least: for ever. Store.Forget removes them; the server does a day later what was not.
	Retention  time.Duration
	Logger     *slog.Logger          // required
	Registerer prometheus.Registerer // required
}

// Store implements store.Store and store.Shared.
type Store struct {
	client  *client
	layout  layout
	log     *slog.Logger
	session string // of this process: whose transactions are whose

	// settled: every transaction up to it has ended, with the highest event id by then.
	settled, settledID mark

	mu       sync.Mutex // serialises what changes the store
	newest   newest
	underway map[uint64]*transaction
	active   map[uint64]bool // of ours, at work
	reserved *transaction    // by Begin, for the next Write
	own      []transaction   // that had events, as far as Others may still ask
	synced   uint32          // the host that is known to have everything, as client.current counts them
	runs     *simplelru.LRU[string, *runState]
	hours    *hours
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Shared = (*Store)(nil)
)

// openTimeout bounds how long Open tries.
const openTimeout = 2 * time.Minute

// cachedRuns bounds the positions that are kept in memory; others are read again.
const cachedRuns = 65536

// Open connects to the store and brings its schema up to date.
func Open(o Options) (_ *Store, err error) {
	switch {
	case o.Address == nil:
		return nil, errors.New("open clickhouse store: Options.Address is nil")
	case o.Logger == nil:
		return nil, errors.New("open clickhouse store: Options.Logger is nil")
	case o.Registerer == nil:
		return nil, errors.New("open clickhouse store: Options.Registerer is nil")
	case o.Retention < 0:
		return nil, fmt.Errorf("open clickhouse store: Options.Retention is %v", o.Retention)
	}
	retried := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spoor_collector_clickhouse_retries_total",
		Help: "Statements that were said again, at the next address where there are several, by why: network, unavailable, busy, parts (too many), readonly or keeper (a replica without its Keeper), quorum, aborted.",
	}, []string{"reason"})
	if err := o.Registerer.Register(retried); err != nil {
		return nil, fmt.Errorf("open clickhouse store: %w", err)
	}
	s := &Store{
		client: newClient(o.Address, o.TLS, retried), log: o.Logger, session: strings.ToLower(rand.Text()),
		layout:   layout{database: o.Address.Database, cluster: o.Address.Cluster, days: days(o.Retention)},
		underway: map[uint64]*transaction{}, active: map[uint64]bool{},
	}
	defer func() {
		if err != nil {
			s.client.close()
			err = fmt.Errorf("open store %s: %w", o.Address, err)
		}
	}()
	if s.runs, err = simplelru.NewLRU[string, *runState](cachedRuns, nil); err != nil {
		return nil, err
	}
	if s.hours, err = newHours(s.session); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if err := s.exists(ctx); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	return s, s.load(ctx)
}

// days is a retention for the server: rounded up, and a day more than the collector's own.
func days(retention time.Duration) int {
	if retention == 0 {
		return 0
	}
	const day = 24 * time.Hour
	return int((retention+day-1)/day) + 1
}

// exists says in words what keeps most people from a first start.
func (s *Store) exists(ctx context.Context) error {
	if s.layout.cluster != "" {
		return nil // it is made there
	}
	_, err := s.client.do(ctx, "SELECT 1", nil, settings{"wait_end_of_query": "1"})
	var server *serverError
	if errors.As(err, &server) && server.code == codeUnknownDatabase {
		return fmt.Errorf("the database does not exist: make it with CREATE DATABASE `%s`: %w", s.layout.database, err)
	}
	return err
}

// load learns which transactions there were.
func (s *Store) load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.client.query(ctx, `SELECT max(txn), max(last) FROM `+s.ledger()+` WHERE kind IN ('begin', 'last')`)
	if err != nil {
		return err
	}
	s.newest = newest{d.u64(), d.u64()}
	if d.err != nil {
		return d.err
	}
	if d, err = s.client.query(ctx, `SELECT min(txn), min(first), count() FROM (SELECT txn, min(first) AS first FROM `+s.ledger()+`
		WHERE kind IN ('begin', 'outcome') AND (kind = 'outcome' OR expires > now()) AND txn <= `+fmt.Sprint(s.newest.txn)+
		` GROUP BY txn HAVING countIf(kind = 'outcome') = 0)`); err != nil {
		return err
	}
	lowest, first, open := d.u64(), d.u64(), d.u64()
	if open == 0 {
		s.settled.advance(s.newest.txn)
		s.settledID.advance(s.newest.id)
		return d.err
	}
	s.settled.advance(lowest - 1)
	s.settledID.advance(first - 1)
	s.newest = newest{lowest - 1, first - 1}
	return s.catchUp(ctx)
}

// Reserved returns a reader for whoever must not wait until people have their answers: here nobody does.
func (s *Store) Reserved() store.Reader { return s }

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client.close()
	return nil
}

// change runs f in a transaction without events.
func (s *Store) change(ctx context.Context, claims []claim, f func(rows *ledgerRows) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.begin(ctx, claims, 0)
	if err != nil {
		return err
	}
	s.active[t.txn] = true
	defer delete(s.active, t.txn)
	rows := &ledgerRows{}
	if err := f(rows); err != nil {
		return err
	}
	return s.commit(ctx, t, rows)
}
