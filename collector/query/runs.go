// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"sync"
	"time"

	"github.com/spoor/spoor/collector/store"
)

const (
	// From so many runs on, what the store says of them is used again for freshFor: each answer looks at all of them, and reading
	// 5,000 takes 40 ms.
	manyRuns = 256
	freshFor = time.Second
)

// runsMemo is what the store said of all runs, by node, and when.
type runsMemo struct {
	mu    sync.Mutex
	asked time.Time
	nodes [][]store.RunStatus
	runs  int
}

// runs returns the runs of each node that ever reported, the latest last. They must not be changed.
func (s *Service) runs(ctx context.Context) ([][]store.RunStatus, error) {
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
	m.asked, m.nodes, m.runs = now, byNode(runs), len(runs)
	return m.nodes, nil
}
