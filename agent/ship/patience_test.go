// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// numbered has batches up to a number.
type numbered uint64

func (numbered) hello() *spoorv1.Hello { return nil }
func (numbered) acknowledge(uint64)    {}
func (numbered) drop(uint64)           {}

func (n numbered) next(after uint64) *spoorv1.Batch {
	if after >= uint64(n) {
		return nil
	}
	return &spoorv1.Batch{Sequence: after + 1, Records: make([]*spoorv1.Record, gatherRecords)}
}

type sendFunc func(*spoorv1.ShipRequest) error

func (f sendFunc) Send(m *spoorv1.ShipRequest) error { return f(m) }

// TestAWaitingAcknowledgementIsNoSilence: what came while a batch was being sent, for longer than the patience, counts.
func TestAWaitingAcknowledgementIsNoSilence(t *testing.T) {
	for range 50 { // which of two things that are ready comes first is left to chance
		synctest.Test(t, func(t *testing.T) {
			acks, failed := make(chan uint64, maxInFlight), make(chan error, 1)
			over := errors.New("the test is over")
			c := &Client{queue: NewQueue(QueueOptions{Limit: 1, Logger: slog.New(slog.DiscardHandler)})}
			slow := sendFunc(func(m *spoorv1.ShipRequest) error {
				if m.GetBatch().GetSequence() == 2 {
					acks <- 1
					time.Sleep(2 * ackPatience)
					acks <- 2
					time.AfterFunc(ackPatience/2, func() { failed <- over })
				}
				return nil
			})
			acked, err := c.pump(t.Context(), slow, numbered(2), 0, acks, failed)
			if !errors.Is(err, io.EOF) || acked != 2 {
				t.Fatalf("%d of 2 batches were acknowledged: %v", acked, err)
			}
		})
	}
}

// TestSilence: a collector that takes batches and acknowledges none is given up.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{queue: NewQueue(QueueOptions{Limit: 1, Logger: slog.New(slog.DiscardHandler)})}
		begun := time.Now()
		_, err := c.pump(t.Context(), sendFunc(func(*spoorv1.ShipRequest) error { return nil }), numbered(2), 0, make(chan uint64, maxInFlight), make(chan error, 1))
		if !errors.Is(err, errSilent) || time.Since(begun) != ackPatience {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}
