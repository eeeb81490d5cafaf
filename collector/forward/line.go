// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/uplink"
	"github.com/spoor/spoor/collector/store"
)

// patience is how long the other collector may take to acknowledge something. It reads slowly whom it slows, and may do so for long.
const patience = time.Minute

// line is the stream of one run. One goroutine at a time ships.
type line struct {
	run     store.Run
	live    bool
	skew    time.Duration // of the agent's clock to this host's
	metrics *metrics
	stream  *connect.BidiStreamForClient[spoorv1.ShipRequest, spoorv1.ShipResponse]
	cancel  context.CancelFunc
	// acknowledged is the last event that the other side has.
	acknowledged uint64

	answers chan uint64
	over    chan struct{} // closed when the stream has ended
	why     error         // set before
}

// refusedBatch: the other side does not take a batch.
type refusedBatch struct {
	batch *spoorv1.Batch
	err   error
}

func (r *refusedBatch) Error() string { return r.err.Error() }
func (r *refusedBatch) Unwrap() error { return r.err }

// listen hears until the stream ends: so it is known at once.
func (l *line) listen() {
	defer close(l.over)
	for {
		m, err := l.stream.Receive()
		if err != nil {
			l.why = err
			return
		}
		n := m.GetAcknowledge().GetSequence()
		select {
		case l.answers <- n:
		case before := <-l.answers: // nobody has looked yet
			l.answers <- max(n, before)
		}
	}
}

func (l *line) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// ship sends batches, and returns when they are acknowledged.
func (l *line) ship(ctx context.Context, batches []*spoorv1.Batch) error {
	defer context.AfterFunc(ctx, l.cancel)()
	for _, b := range batches {
		impatient := time.AfterFunc(patience, l.cancel)
		b.Sent = timestamppb.New(time.Now().Add(l.skew))
		err := l.stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}})
		impatient.Stop()
		if err != nil {
			return l.ended(ctx, batches, err)
		}
	}
	silent := time.NewTimer(patience)
	defer silent.Stop()
	for last := batches[len(batches)-1].GetSequence(); l.acknowledged < last; {
		select {
		case n := <-l.answers:
			l.hear(n, batches)
			silent.Reset(patience)
		case <-l.over:
			return l.ended(ctx, batches, l.why)
		case <-silent.C:
			return fmt.Errorf("the other collector has not acknowledged anything for %s", patience)
		}
	}
	return nil
}

// hear takes an acknowledgement, and counts what it is for.
func (l *line) hear(n uint64, batches []*spoorv1.Batch) {
	for _, b := range batches {
		if b.GetSequence() > l.acknowledged && b.GetSequence() <= n {
			l.metrics.events.Add(float64(len(b.GetRecords())))
		}
	}
	l.acknowledged = max(l.acknowledged, n)
}

// ended says why the stream has, and which batch is to blame where one is.
func (l *line) ended(ctx context.Context, batches []*spoorv1.Batch, err error) error {
	l.cancelIfSilent()
	<-l.over
	select {
	case n := <-l.answers:
		l.hear(n, batches)
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || uplink.Refuses(l.why) {
		err = l.why
	}
	if uplink.Refuses(err) {
		for _, b := range batches {
			if b.GetSequence() > l.acknowledged {
				return &refusedBatch{b, err}
			}
		}
	}
	return err
}

// cancelIfSilent gives the other side a moment to say why it has ended the stream.
func (l *line) cancelIfSilent() {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-l.over:
	case <-timer.C:
		l.cancel()
	}
}

// close ends the stream. What was sent need not have arrived.
func (l *line) close() {
	_ = l.stream.CloseRequest()
	l.cancel()
	<-l.over
	_ = l.stream.CloseResponse()
}
