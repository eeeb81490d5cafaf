// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"sync"
	"time"

	"github.com/spoor/spoor/collector/store"
)

const (
	// From so many runs on, what is known of them is used again for freshFor: each answer looks at all of them, and reading
	// 5,000 takes 40 ms.
	manyRuns = 256
	freshFor = time.Second
)

// node is what is known of one that ever reported.
type node struct {
	runs      []store.RunStatus // the latest last; they must not be changed
	name      string            // as sentences have it
	connected bool
}

func (n *node) last() *store.RunStatus { return &n.runs[len(n.runs)-1] }

// nodesMemo is what was known of all nodes, and when.
type nodesMemo struct {
	mu    sync.Mutex
	asked time.Time
	nodes []node
	runs  int
}

// nodes returns those that ever reported. They must not be changed.
func (s *Service) nodes(ctx context.Context) ([]node, error) {
	m := &s.memo
	m.mu.Lock() // who comes meanwhile gets the same answer
	defer m.mu.Unlock()
	now := s.o.Now()
	if age := now.Sub(m.asked); m.runs >= manyRuns && age >= 0 && age < freshFor {
		return m.nodes, nil
	}
	runs, err := s.o.Store.Runs(ctx)
	if err != nil {
		return nil, err
	}
	m.asked, m.nodes, m.runs = now, s.byNode(runs), len(runs)
	return m.nodes, nil
}

// byNode splits runs, of which the latest come last, into those of each node.
func (s *Service) byNode(runs []store.RunStatus) []node {
	var nodes []node
	at := map[store.Node]int{}
	for _, run := range runs {
		key := store.Node{Cluster: run.Cluster, Name: run.Node}
		i, ok := at[key]
		if !ok {
			i = len(nodes)
			at[key] = i
			nodes = append(nodes, node{name: nodeName(run.Cluster, run.Node), connected: s.o.Connected(run.Cluster, run.Node)})
		}
		nodes[i].runs = append(nodes[i].runs, run)
	}
	return nodes
}
