// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"sync"
	"time"

	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/clickhouse"
	"github.com/spoor/spoor/collector/store/sqlite"
)

const (
	// attendEvery is how often collectors of one store tell each other whose agents they have.
	attendEvery = 15 * time.Second
	// attendedFor is how long that is believed.
	attendedFor = 4 * attendEvery
	// sharedGroup is how many events go into one transaction of a store that is shared: each takes several questions over the network, and many
	// small inserts cost ClickHouse more than few large ones.
	sharedGroup = 20_000
)

// engine is a store with a reader for whoever must not wait until people have their answers.
type engine interface {
	store.Store
	Reserved() store.Reader
}

// openStore opens what the options name.
func (o *Options) openStore() (engine, error) {
	if o.ClickHouse != nil {
		st, err := clickhouse.Open(clickhouse.Options{
			Address: o.ClickHouse, TLS: o.ClickHouseTLS, Retention: o.Retention, Logger: o.Logger, Registerer: o.Registerer,
		})
		if err != nil {
			return nil, err // and no nil *clickhouse.Store, which is not nil in an interface
		}
		return st, nil
	}
	st, err := sqlite.Open(sqlite.Options{Dir: o.DataDir, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return st, nil
}

// elsewhere knows which nodes have their agent at another collector of the same store.
type elsewhere struct {
	mu   sync.Mutex
	seen map[store.Node]time.Time
}

func (e *elsewhere) has(n store.Node, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Sub(e.seen[n]) < attendedFor
}

func (e *elsewhere) learn(seen map[store.Node]time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = seen
}

// connected reports whether the node's agent has a stream open, to this collector or to another one of the same store.
func (c *Collector) connected(cluster, name string) bool {
	return c.ingest.ConnectedNode(cluster, name) || c.elsewhere.has(store.Node{Cluster: cluster, Name: name}, time.Now())
}

// attend tells the other collectors whose agents are here, and asks them.
func (c *Collector) attend(ctx context.Context, shared store.Shared) error {
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	for {
		err := shared.Attend(ctx, c.ingest.Nodes(), time.Now())
		if err == nil {
			var seen map[store.Node]time.Time
			if seen, err = shared.Attended(ctx); err == nil {
				c.elsewhere.learn(seen)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.o.Logger.Warn("collectors do not know of each other's agents", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
