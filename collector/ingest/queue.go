// SPDX-License-Identifier: Apache-2.0

package ingest

import "sync"

// quantum is how many events of a node go into transactions before it is another node's turn. It is no bound of a batch, which is
// never split: who sends larger ones is passed over until the others have had as much.
const quantum = 500

// queue holds what waits for a transaction and says what is next: the nodes take turns, counted in events (deficit round robin), and
// a node of which nothing waited comes first, before those that always have something. A node's own submissions keep their order. It
// is bounded by those who fill it: a stream has inFlight batches under way, and room bounds their bytes.
type queue struct {
	ready chan struct{} // holds a token when something waits

	mu      sync.Mutex
	byNode  map[nodeKey]*turn
	fresh   []*turn // of nodes that had nothing, and have not had their quantum since
	rest    []*turn
	waiting int
	held    int // events
}

// turn is what waits of a node.
type turn struct {
	key     nodeKey
	waiting []*submission
	credit  int // events
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), byNode: map[nodeKey]*turn{}}
}

func (q *queue) put(s *submission) {
	run := s.run()
	key := nodeKey{run.Cluster, run.Node}
	q.mu.Lock()
	t := q.byNode[key]
	if t == nil {
		t = &turn{key: key, credit: quantum}
		q.byNode[key] = t
		q.fresh = append(q.fresh, t)
	}
	t.waiting = append(t.waiting, s)
	q.waiting++
	q.held += s.events()
	q.mu.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default: // there is a token
	}
}

// take returns what is next, or nil when that has more than most events; most < 0 is no bound.
func (q *queue) take(most int) *submission {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		list := &q.fresh
		if len(*list) == 0 {
			list = &q.rest
		}
		if len(*list) == 0 {
			return nil
		}
		t := (*list)[0]
		switch {
		case t.credit <= 0:
			t.credit += quantum
			*list = (*list)[1:]
			q.rest = append(q.rest, t)
		case len(t.waiting) > 0:
			s := t.waiting[0]
			if most >= 0 && s.events() > most {
				return nil
			}
			t.waiting[0] = nil
			t.waiting = t.waiting[1:]
			t.credit -= s.events()
			q.waiting--
			q.held -= s.events()
			return s
		case list == &q.fresh && len(q.rest) > 0:
			// It must not come first again as soon as it has the next one.
			*list = (*list)[1:]
			q.rest = append(q.rest, t)
		default:
			*list = (*list)[1:]
			delete(q.byNode, t.key)
		}
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// events returns how many of them wait.
func (q *queue) events() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}
