// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/spoor/spoor/collector/store"
)

var (
	errSuperseded = errors.New("the same node has opened another stream")
	errExpired    = errors.New("the agent's certificate has expired")
	errPushed     = errors.New("too many streams wait for their hello, and this one was the oldest")
	errNoHello    = errors.New("no hello came")
	errUnread     = errors.New("the agent does not read what it is answered")
)

// sessions are the streams that are open, one a node. A second one is what is left when a connection breaks and only
// the agent has noticed: the older stream is ended, after what it has sent is durable, before the new one is welcomed.
// So batches of a run are never under way on two streams at a time.
type sessions struct {
	superseded atomic.Uint64

	mu      sync.Mutex
	byNode  map[nodeKey]*session
	stopped bool
}

type nodeKey struct{ cluster, node string }

type session struct {
	run  store.Run
	wake func(why error) // makes the stream's reader return
	over chan struct{}   // closed when the stream has ended

	mu  sync.Mutex
	why error
}

func newSessions() *sessions { return &sessions{byNode: map[nodeKey]*session{}} }

// begin registers a stream, after the one that it replaces has ended.
func (s *sessions) begin(ctx context.Context, run store.Run, wake func(why error)) (*session, error) {
	key := nodeKey{run.Cluster, run.Node}
	for {
		s.mu.Lock()
		if s.stopped {
			s.mu.Unlock()
			return nil, ErrStopped
		}
		old := s.byNode[key]
		if old == nil {
			n := &session{run: run, wake: wake, over: make(chan struct{})}
			s.byNode[key] = n
			s.mu.Unlock()
			return n, nil
		}
		s.mu.Unlock()
		old.stop(errSuperseded)
		select {
		case <-old.over:
			s.superseded.Add(1)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// end takes the stream off the list.
func (s *sessions) end(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byNode, nodeKey{n.run.Cluster, n.run.Node})
	close(n.over)
}

// stop ends all streams and lets no new one begin.
func (s *sessions) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, n := range s.byNode {
		n.stop(ErrStopped)
	}
}

// of returns the stream of a node, or nil.
func (s *sessions) of(cluster, node string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byNode[nodeKey{cluster, node}]
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byNode)
}

// stop makes the reader return and says why.
func (n *session) stop(why error) {
	n.mu.Lock()
	if n.why == nil {
		n.why = why
	}
	n.mu.Unlock()
	n.wake(why)
}

func (n *session) reason() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.why
}
