// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/api/uplink"
)

type nodeKey struct{ cluster, node string }

// lines are the streams to the other collector, one a node.
type lines struct {
	uplink  *uplink.Uplink
	metrics *metrics

	mu     sync.Mutex
	byNode map[nodeKey]*line
	aside  map[nodeKey]*refusedNode
}

func newLines(url string, secure func() (*tls.Config, uint64), m *metrics) *lines {
	return &lines{uplink: uplink.New(url, secure), metrics: m, byNode: map[nodeKey]*line{}, aside: map[nodeKey]*refusedNode{}}
}

// refusedNode: the other side does not take a node at all.
type refusedNode struct {
	err   error
	until time.Time
	first bool
}

func (r *refusedNode) Error() string { return r.err.Error() }
func (r *refusedNode) Unwrap() error { return r.err }

// of returns the stream of a run; it opens one where there is none, or one that is of another run of the node, or of the same when
// its agent was connected and is not any more.
func (s *lines) of(ctx context.Context, r *run, live bool) (*line, error) {
	key := nodeKey{r.Cluster, r.Node}
	s.mu.Lock()
	l, refused := s.byNode[key], s.aside[key]
	s.mu.Unlock()
	if refused != nil && time.Now().Before(refused.until) {
		return nil, &refusedNode{err: refused.err}
	}
	if l != nil && l.run == r.Run && l.live == live && !l.isOver() {
		return l, nil
	}
	s.closeIf(key, func(*line) bool { return true })
	l, err := open(ctx, s.uplink.Client(), r, live, s.metrics)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case uplink.Refuses(err):
		first := refused == nil
		s.aside[key] = &refusedNode{err: err, until: time.Now().Add(asideFor)}
		return nil, &refusedNode{err: err, first: first}
	case err != nil:
		return nil, err
	}
	delete(s.aside, key)
	s.byNode[key] = l
	s.metrics.streams.Set(float64(len(s.byNode)))
	return l, nil
}

// closeIf closes the stream of a node, if there is one and it is meant.
func (s *lines) closeIf(key nodeKey, is func(*line) bool) {
	s.mu.Lock()
	l := s.byNode[key]
	if l == nil || !is(l) {
		s.mu.Unlock()
		return
	}
	delete(s.byNode, key)
	s.metrics.streams.Set(float64(len(s.byNode)))
	s.mu.Unlock()
	l.close()
}

// closeAll ends all streams, and the connections under them.
func (s *lines) closeAll() {
	s.mu.Lock()
	all := s.byNode
	s.byNode = map[nodeKey]*line{}
	s.metrics.streams.Set(0)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(l.close)
	}
	wg.Wait()
	s.uplink.Close()
}

// hello says who the agent is, as it was said here.
func hello(r *run, live bool) *spoorv1.Hello {
	h := &spoorv1.Hello{
		Cluster: r.Cluster, Node: r.Node, Epoch: r.Epoch, BootId: r.BootID, Version: r.Version, KernelRelease: r.KernelRelease, Architecture: r.Architecture,
	}
	if !r.Start.IsZero() {
		h.StartTime = timestamppb.New(r.Start)
	}
	if !live && !r.Seen.IsZero() {
		h.Ended = timestamppb.New(r.Seen)
	}
	return h
}

var errNoWelcome = errors.New("the other collector answered with something else than a welcome")

func open(ctx context.Context, rpc spoorv1connect.AgentServiceClient, r *run, live bool, m *metrics) (*line, error) {
	// The stream lives longer than what it is opened for.
	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	l := &line{run: r.Run, live: live, skew: r.Skew, metrics: m, cancel: cancel, stream: rpc.Ship(streaming), answers: make(chan uint64, 1), over: make(chan struct{})}
	impatient := time.AfterFunc(patience, cancel)
	defer impatient.Stop()
	err := l.stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello(r, live)}})
	first, received := l.stream.Receive() // what it says is why nothing could be sent
	if received != nil {
		err = received
	}
	if err == nil && first.GetWelcome() == nil {
		err = errNoWelcome
	}
	if err != nil {
		cancel()
		_ = l.stream.CloseRequest()
		_ = l.stream.CloseResponse()
		return nil, fmt.Errorf("greet the other collector as node %s: %w", r.Node, err)
	}
	l.acknowledged = first.GetWelcome().GetAcknowledged()
	go l.listen()
	return l, nil
}
