// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/uplink"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 15 * time.Second
	// Messages that may be on the way without an acknowledgement.
	maxInFlight = 16
	// How long a stream may carry batches without one acknowledgement before it is broken and tried again.
	ackPatience = 30 * time.Second
	// How often in a row a collector must refuse a batch before it is given up: nothing behind it could arrive otherwise.
	maxRefusals = 3
)

// Client sends what is in a Queue to one collector, for as long as it runs, whatever becomes of the connection; first of all
// what earlier runs left in its spool.
type Client struct {
	queue     *Queue
	uplink    *uplink.Uplink
	log       *slog.Logger
	connected atomic.Bool
	attempts  atomic.Uint64
	hurried   atomic.Bool // what comes need not wait for more

	// What follows belongs to Run.
	hello   *spoorv1.Hello
	left    []*leftover // oldest first
	aside   []*leftover // those that the collector refused
	refused refusal
	sent    uint64 // the last batch that the current stream has carried
}

// current makes a source of the queue.
type current struct {
	*Queue
	who *spoorv1.Hello
}

func (c current) hello() *spoorv1.Hello { return c.who }

// Options of a Client.
type Options struct {
	// For example https://collector.example:7070, or http://127.0.0.1:7070.
	URL string
	// See uplink.New.
	TLS   func() (config *tls.Config, version uint64)
	Queue *Queue
	// Says who the agent is; sent at the start of each stream.
	Hello  *spoorv1.Hello
	Logger *slog.Logger
}

// NewClient returns a Client that does nothing before Run.
func NewClient(o Options) *Client {
	return &Client{queue: o.Queue, uplink: uplink.New(o.URL, o.TLS), hello: o.Hello, left: leftovers(o.Queue), log: o.Logger}
}

// Connected reports whether a collector answered on the current stream.
func (c *Client) Connected() bool { return c.connected.Load() }

// Attempts returns how many streams were begun.
func (c *Client) Attempts() uint64 { return c.attempts.Load() }

// Run sends until ctx ends. It returns nil: a collector that cannot be reached is a state, not an error.
func (c *Client) Run(ctx context.Context) error {
	defer c.uplink.Close()
	backoff := minBackoff
	for {
		c.attempts.Add(1)
		src := c.source()
		acked, err := c.stream(ctx, src)
		connected := c.connected.Swap(false)
		if errors.Is(err, errFinished) {
			c.log.Info("what an earlier run left has arrived", "epoch", c.left[0].who.GetEpoch())
			c.left, backoff = c.left[1:], minBackoff
			continue
		}
		switch {
		case ctx.Err() != nil:
		case connected && uplink.Superseded(err):
			c.log.Warn("another agent speaks for this node, and the collector keeps the newer stream only; stop one of them, or give it a name of its own", "node", c.hello.GetNode())
			// The waits grow: two that take it from each other would do nothing else.
		case connected:
			c.log.Warn("the collector ended the stream, or is gone; events wait", "error", err)
			backoff = minBackoff
		case backoff == minBackoff:
			c.log.Info("no collector yet; events wait", "error", err)
		}
		c.consider(src, acked, connected, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff/2 + rand.N(backoff/2)): //nolint:gosec // jitter
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// source returns what is to be sent next.
func (c *Client) source() source {
	if len(c.left) > 0 {
		return c.left[0]
	}
	return current{c.queue, c.hello}
}

// Drain waits until everything that was queued is acknowledged, or until ctx ends. What is left then is lost where there is
// no spool, which is an error; Queue.Keep brings it to the spool otherwise.
func (c *Client) Drain(ctx context.Context) error {
	c.hurried.Store(true)
	c.queue.Flush()
	signal(c.queue.wake)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		held := c.queue.Stats().Held
		if held == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if c.queue.o.Spool != nil {
				c.log.Info("events stay in the spool for the next run", "events", held)
				return nil
			}
			return fmt.Errorf("stopped with %d events that no collector acknowledged", held)
		case <-tick.C:
		}
	}
}

var (
	errSilent = errors.New("no acknowledgement for " + ackPatience.String())
	// errFinished: everything that an earlier run left is acknowledged.
	errFinished = errors.New("nothing is left")
)

// stream carries batches until something breaks. It returns the highest number that was acknowledged.
func (c *Client) stream(ctx context.Context, src source) (acked uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := c.uplink.Client().Ship(ctx)
	if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: src.hello()}}); err != nil {
		return 0, c.reason(stream, err)
	}
	first, err := stream.Receive()
	if err != nil {
		return 0, fmt.Errorf("greet the collector: %w", err)
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return 0, errors.New("greet the collector: it answered with something else than a welcome")
	}
	src.acknowledge(welcome.GetAcknowledged())
	c.connected.Store(true)

	acks := make(chan uint64, maxInFlight)
	failed := make(chan error, 1)
	go func() {
		for {
			m, err := stream.Receive()
			if err != nil {
				failed <- err
				return
			}
			select {
			case acks <- m.GetAcknowledge().GetSequence():
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
	}()
	acked, err = c.pump(ctx, stream, src, welcome.GetAcknowledged(), acks, failed)
	// io.EOF: the stream was ended by the other side, which also says why. errFinished: it is ended in good order.
	if !errors.Is(err, io.EOF) && !errors.Is(err, errFinished) {
		cancel()
	}
	// The transport looks at ctx only between two messages of ours: without this it would wait for one.
	closing := stream.CloseRequest()
	last, received := drain(acks, failed)
	if last > acked {
		src.acknowledge(last)
		acked = last
	}
	if received != nil && errors.Is(err, io.EOF) {
		err = nil // the other side says more
	}
	return acked, errors.Join(err, received, closing, stream.CloseResponse())
}

// drain lets the receiving goroutine end, and returns the last acknowledgement and why it did.
func drain(acks <-chan uint64, failed <-chan error) (last uint64, err error) {
	for {
		select {
		case n := <-acks:
			last = max(last, n)
		case err := <-failed:
			for len(acks) > 0 {
				last = max(last, <-acks)
			}
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return last, err
		}
	}
}

type shipStream = connect.BidiStreamForClient[spoorv1.ShipRequest, spoorv1.ShipResponse]

// sender is the half of a stream that pump needs.
type sender interface {
	Send(m *spoorv1.ShipRequest) error
}

// pump sends and hears until something breaks, or an earlier run has nothing left.
func (c *Client) pump(ctx context.Context, stream sender, src source, acked uint64, acks <-chan uint64, failed chan error) (uint64, error) {
	c.sent = acked
	_, ends := src.(*leftover)
	var under []uint64 // way: the last batch of each message
	var last time.Time
	patience, more := time.NewTimer(ackPatience), time.NewTimer(0)
	defer patience.Stop()
	defer more.Stop()
	for {
		for len(under) < maxInFlight {
			b, full := c.message(src)
			if b == nil {
				break
			}
			if !full && !ends && !c.hurried.Load() {
				if len(under) > 0 {
					break // its acknowledgement wakes us
				}
				if wait := pace - time.Since(last); wait > 0 {
					more.Reset(wait)
					break
				}
			}
			if len(under) == 0 {
				patience.Reset(ackPatience)
			}
			last = time.Now()
			if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: stamped(b)}}); err != nil {
				return acked, fmt.Errorf("send to the collector: %w", err)
			}
			c.sent = b.GetSequence()
			under = append(under, c.sent)
		}
		if ends && c.sent == acked {
			return acked, errFinished
		}
		select {
		case n := <-acks:
			src.acknowledge(n)
			acked = max(acked, n)
			for len(under) > 0 && under[0] <= acked {
				under = under[1:]
			}
			patience.Reset(ackPatience)
		case <-more.C:
		case <-c.queue.wake:
			c.makeRoom()
		case err := <-failed:
			failed <- err // for drain, which returns it
			return acked, io.EOF
		case <-patience.C:
			// Sending may have taken longer than the patience, while acknowledgements came.
			if len(under) > 0 && len(acks) == 0 {
				return acked, errSilent
			}
		case <-ctx.Done():
			return acked, ctx.Err()
		}
	}
}

// message returns what is to be sent next, and whether that should be at once.
func (c *Client) message(src source) (b *spoorv1.Batch, full bool) {
	if c.refused.among(src, c.sent) {
		b = src.next(c.sent)
		return b, true
	}
	return gather(src, c.sent)
}

// stamped returns a batch with the time. The queue's own is read by others, too.
func stamped(b *spoorv1.Batch) *spoorv1.Batch {
	return &spoorv1.Batch{
		Sequence: b.GetSequence(), Instances: b.GetInstances(), Processes: b.GetProcesses(), ProcessInstances: b.GetProcessInstances(),
		Records: b.GetRecords(), Sent: timestamppb.Now(),
	}
}

// reason asks a stream that refuses to send for the error behind it.
func (c *Client) reason(stream *shipStream, err error) error {
	if errors.Is(err, io.EOF) {
		if _, received := stream.Receive(); received != nil {
			err = received
		}
	}
	return fmt.Errorf("send to the collector: %w", err)
}
