// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// link is a stream whose agent has been welcomed.
type link struct {
	service *Service
	stream  *shipStream
	run     store.Run
	key     nodeKey
	pace    *pace
	// ended is when the run did, as far as it has.
	ended time.Time
}

// pending is a batch that is under way, with what it takes of the memory.
type pending struct {
	*submission
	bytes int64
}

// exchange receives batches and acknowledges them, until either side ends the stream.
func (l *link) exchange(ctx context.Context, sender *sender, session *session) error {
	queue := make(chan pending, inFlight)
	acknowledged := make(chan error, 1)
	go func() { acknowledged <- l.acknowledge(sender, queue, session.wake) }()
	received := l.receive(ctx, queue)
	close(queue)
	failed := <-acknowledged
	switch {
	case failed != nil:
		return failed
	case errors.Is(received, os.ErrDeadlineExceeded):
		return session.reason()
	}
	return received
}

// receive queues what the agent sends. It returns nil when the agent has ended the stream.
func (l *link) receive(ctx context.Context, queue chan<- pending) error {
	s := l.service
	for {
		m, err := l.stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b := m.GetBatch()
		if b == nil {
			return refuse(reasonProtocol, "a message that is no batch, after hello")
		}
		now := time.Now()
		p := pending{bytes: int64(proto.Size(b))}
		cost := max(len(b.GetRecords()), len(b.GetProcesses()), 1)
		s.metrics.bytes.Add(float64(p.bytes))
		batch := &store.Batch{Run: l.run, Sequence: b.GetSequence(), Received: now, Skew: skew(b.GetSent(), now)}
		if !l.ended.IsZero() {
			batch.Received = l.ended
		}
		if batch.Events, err = Expand(l.run, b, now); err != nil {
			return fmt.Errorf("node %s: %w", l.run.Node, err)
		}
		if err := s.room.take(ctx, l.key, p.bytes, l.slowed); err != nil {
			return err
		}
		p.submission = &submission{batch: batch}
		s.o.Committer.submit(p.submission)
		queue <- p // the other side takes from it until it is closed
		// After the batch, not before it: what has been received need not wait here.
		if err := l.pace.spend(ctx, cost, l.slowed); err != nil {
			return err
		}
	}
}

// slowed counts how long the agent is not read from.
func (l *link) slowed(reason string) (over func()) {
	begun := time.Now()
	if l.pace.say(begun) {
		l.service.o.Logger.Warn("an agent sends more than its limits allow; it is slowed, and keeps its events meanwhile",
			"cluster", l.key.cluster, "node", l.key.node, "limit", reason)
	}
	now := l.service.metrics.slowing.WithLabelValues(reason)
	now.Inc()
	return func() {
		now.Dec()
		l.service.metrics.slowed.WithLabelValues(reason).Add(time.Since(begun).Seconds())
	}
}

// acknowledge waits for the batches in their order. After the first that cannot be made durable, or be acknowledged,
// it wakes the reader, since nothing more can be said to the agent, and waits for the rest: their memory is in use
// until then.
func (l *link) acknowledge(sender *sender, queue <-chan pending, wake func(why error)) error {
	var failed error
	for p := range queue {
		err := l.service.o.Committer.await(p.submission)
		l.service.room.give(l.key, p.bytes)
		if failed != nil {
			continue
		}
		if err == nil {
			ack := &spoorv1.Acknowledge{Sequence: p.acknowledged}
			err = sender.send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Acknowledge{Acknowledge: ack}})
		}
		if failed = err; err != nil {
			wake(err)
		}
	}
	return failed
}

// sender bounds how long an agent that does not read can hold things up.
type sender struct {
	stream   *shipStream
	control  *http.ResponseController
	patience time.Duration
}

func (s *sender) send(m *spoorv1.ShipResponse) error {
	// Not by a deadline from the start: to set one and to take it back are two messages to the goroutine of the connection.
	late := time.AfterFunc(s.patience, func() { _ = s.control.SetWriteDeadline(time.Unix(1, 0)) }) // who cannot be woken is gone
	err := s.stream.Send(m)
	if !late.Stop() { // err may be nil: what ended the wait was a flush, which says nothing
		return fmt.Errorf("%w within %v", errUnread, s.patience)
	}
	return err
}

// skew is how far the agent's clock is ahead, as far as a single message can tell.
func skew(sent *timestamppb.Timestamp, now time.Time) time.Duration {
	if sent == nil || checkTime(sent) != nil {
		return 0
	}
	d := sent.AsTime().Sub(now)
	return min(max(d, math.MinInt64/2), math.MaxInt64/2)
}
