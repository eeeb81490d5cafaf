// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 15 * time.Second
	// Batches that may be on the way without an acknowledgement.
	maxInFlight = 16
	// How long a stream may carry batches without one acknowledgement before it is broken and tried again.
	ackPatience = 30 * time.Second
)

// Client sends what is in a Queue to one collector, for as long as it runs, whatever becomes of the connection.
type Client struct {
	queue     *Queue
	hello     *spoorv1.Hello
	rpc       spoorv1connect.AgentServiceClient
	log       *slog.Logger
	connected atomic.Bool
	attempts  atomic.Uint64
}

// Options of a Client.
type Options struct {
	// For example http://127.0.0.1:7070.
	URL   string
	Queue *Queue
	// Says who the agent is; sent at the start of each stream.
	Hello  *spoorv1.Hello
	Logger *slog.Logger
}

// NewClient returns a Client that does nothing before Run.
func NewClient(o Options) *Client {
	// A stream in both directions needs HTTP/2, over plain TCP on loopback without TLS.
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols,
		HTTP2:     &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
	return &Client{
		queue: o.Queue,
		hello: o.Hello,
		rpc:   spoorv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, o.URL, connect.WithGRPC()),
		log:   o.Logger,
	}
}

// Connected reports whether a collector answered on the current stream.
func (c *Client) Connected() bool { return c.connected.Load() }

// Attempts returns how many streams were begun.
func (c *Client) Attempts() uint64 { return c.attempts.Load() }

// Run sends until ctx ends. It returns nil: a collector that cannot be reached is a state, not an error.
func (c *Client) Run(ctx context.Context) error {
	backoff := minBackoff
	for {
		c.attempts.Add(1)
		err := c.stream(ctx)
		switch connected := c.connected.Swap(false); {
		case ctx.Err() != nil:
		case connected:
			c.log.Warn("the collector is gone; events wait", "error", err)
			backoff = minBackoff
		case backoff == minBackoff:
			c.log.Info("no collector yet; events wait", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff/2 + rand.N(backoff/2)): //nolint:gosec // jitter
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// Drain waits until everything that was queued is acknowledged, or until ctx ends.
func (c *Client) Drain(ctx context.Context) error {
	c.queue.Flush()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		held := c.queue.Stats().Held
		if held == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped with %d events that no collector acknowledged", held)
		case <-tick.C:
		}
	}
}

var errSilent = errors.New("no acknowledgement for " + ackPatience.String())

// stream carries batches until something breaks.
func (c *Client) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := c.rpc.Ship(ctx)
	if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: c.hello}}); err != nil {
		return c.reason(stream, err)
	}
	first, err := stream.Receive()
	if err != nil {
		return fmt.Errorf("greet the collector: %w", err)
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return errors.New("greet the collector: it answered with something else than a welcome")
	}
	c.queue.acknowledge(welcome.GetAcknowledged())
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
	err = c.pump(ctx, stream, welcome.GetAcknowledged(), acks, failed)
	if !errors.Is(err, io.EOF) { // io.EOF: the stream was ended by the other side, which also says why
		cancel()
	}
	// The transport looks at ctx only between two messages of ours: without this it would wait for one.
	closing := stream.CloseRequest()
	received := drain(acks, failed)
	return errors.Join(err, received, closing, stream.CloseResponse())
}

// drain lets the receiving goroutine end, and returns why it did.
func drain(acks <-chan uint64, failed <-chan error) error {
	for {
		select {
		case <-acks:
		case err := <-failed:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
}

type shipStream = connect.BidiStreamForClient[spoorv1.ShipRequest, spoorv1.ShipResponse]

func (c *Client) pump(ctx context.Context, stream *shipStream, acked uint64, acks <-chan uint64, failed chan error) error {
	sent := acked
	patience := time.NewTimer(ackPatience)
	defer patience.Stop()
	for {
		for sent-acked < maxInFlight {
			b := c.queue.next(sent, time.Now())
			if b == nil {
				break
			}
			if sent == acked {
				patience.Reset(ackPatience)
			}
			if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}}); err != nil {
				return fmt.Errorf("send to the collector: %w", err)
			}
			sent = b.GetSequence()
		}
		select {
		case n := <-acks:
			c.queue.acknowledge(n)
			acked = max(acked, n)
			patience.Reset(ackPatience)
		case <-c.queue.wake:
		case err := <-failed:
			failed <- err // for drain, which returns it
			return io.EOF
		case <-patience.C:
			if sent != acked {
				return errSilent
			}
		case <-ctx.Done():
			return ctx.Err()
		}
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
