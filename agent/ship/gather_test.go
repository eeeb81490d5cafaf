// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// pumping has a client send what is in its queue, until end is called.
func pumping(t *testing.T, sent func(b *spoorv1.Batch, acks chan<- uint64)) (q *Queue, c *Client, end func()) {
	q = memory(10_000)
	c = &Client{queue: q, log: slog.New(slog.DiscardHandler)}
	acks, failed := make(chan uint64, maxInFlight), make(chan error, 1)
	stream := sendFunc(func(m *spoorv1.ShipRequest) error {
		sent(m.GetBatch(), acks)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := c.pump(ctx, stream, current{q, &spoorv1.Hello{}}, 0, acks, failed)
		over <- err
	}()
	return q, c, func() {
		cancel()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// TestSmallBatchesGoTogether: the first event goes at once, those that follow once a second; many go at once, and so does what is there when the
// agent stops.
func TestSmallBatchesGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var got []string
		q, c, end := pumping(t, func(b *spoorv1.Batch, acks chan<- uint64) {
			got = append(got, fmt.Sprintf("%.1fs: %d records, up to batch %d", time.Since(begun).Seconds(), len(b.GetRecords()), b.GetSequence()))
			acks <- b.GetSequence()
		})
		tell := func(records int) {
			for range records {
				q.Add(write(1), nil, nil)
			}
			q.Flush()
			synctest.Wait()
		}
		for range 5 {
			tell(2)
			time.Sleep(300 * time.Millisecond)
		}
		tell(600)
		tell(1)
		if err := c.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		end()
		want := []string{
			"0.0s: 2 records, up to batch 1", "1.0s: 6 records, up to batch 4", "1.5s: 602 records, up to batch 6", "1.5s: 1 records, up to batch 7",
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent:\n%q\nwant:\n%q", got, want)
		}
	})
}

// TestSmallBatchesWaitForTheAcknowledgement: a collector that answers late is sent few messages, each with all that came meanwhile, but
// full ones at once.
func TestSmallBatchesWaitForTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late = 3400 * time.Millisecond
		begun := time.Now()
		var got []string
		q, _, end := pumping(t, func(b *spoorv1.Batch, acks chan<- uint64) {
			got = append(got, fmt.Sprintf("%.1fs: %d records", time.Since(begun).Seconds(), len(b.GetRecords())))
			time.AfterFunc(late, func() { acks <- b.GetSequence() })
		})
		for n := range 20 {
			records := 1
			if n == 10 {
				records = gatherRecords
			}
			for range records {
				q.Add(write(1), nil, nil)
			}
			q.Flush()
			time.Sleep(500 * time.Millisecond)
		}
		end()
		// What follows a full one waits for that as well.
		want := []string{"0.0s: 1 records", "3.4s: 6 records", "5.0s: 503 records", "8.4s: 6 records"}
		if !slices.Equal(got, want) {
			t.Errorf("sent:\n%q\nwant:\n%q", got, want)
		}
	})
}

// listed are closed batches.
type listed []*spoorv1.Batch

func (listed) hello() *spoorv1.Hello { return nil }
func (listed) acknowledge(uint64)    {}
func (listed) drop(uint64)           {}

func (l listed) next(after uint64) *spoorv1.Batch {
	for _, b := range l {
		if b.GetSequence() > after {
			return b
		}
	}
	return nil
}

// TestGatherKeepsWhatRecordsSay: who did it, where, and what only a later version knows.
func TestGatherKeepsWhatRecordsSay(t *testing.T) {
	host, unit := &spoorv1.Instance{Id: "host"}, &spoorv1.Instance{Id: "unit"}
	sh, ls := &spoorv1.Process{Comm: "sh"}, &spoorv1.Process{Comm: "ls"}
	strange := &spoorv1.Record{Sequence: 4}
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), []byte("news"))
	strange.ProtoReflect().SetUnknown(unknown)
	first := &spoorv1.Batch{
		Sequence: 3, Instances: []*spoorv1.Instance{host, unit}, Processes: []*spoorv1.Process{ls, sh}, ProcessInstances: []uint32{1, 0},
		Records: []*spoorv1.Record{{Sequence: 1, TimeUnixNano: 7, Process: 2, Instance: 2, Fact: write(1).GetFact()}, {Sequence: 2, Process: 1}},
	}
	second := &spoorv1.Batch{
		Sequence: 5, Instances: []*spoorv1.Instance{unit}, Processes: []*spoorv1.Process{ls}, ProcessInstances: []uint32{0},
		Records: []*spoorv1.Record{{Sequence: 3, Process: 1, Instance: 1}, strange},
	}
	before := []proto.Message{proto.CloneOf(first), proto.CloneOf(second)}
	b, full := gather(listed{first, second}, 2)
	if full || b.GetSequence() != 5 || len(b.GetInstances()) != 2 || len(b.GetProcesses()) != 2 {
		t.Fatalf("full %v: %v", full, b)
	}
	var got []string
	for _, r := range b.GetRecords() {
		line := fmt.Sprint(r.GetSequence())
		if p := r.GetProcess(); p > 0 {
			line += " " + b.GetProcesses()[p-1].GetComm() + " of " + b.GetInstances()[b.GetProcessInstances()[p-1]].GetId()
		}
		if in := r.GetInstance(); in > 0 {
			line += " in " + b.GetInstances()[in-1].GetId()
		}
		got = append(got, line)
	}
	if want := []string{"1 sh of host in unit", "2 ls of unit", "3 ls of unit in unit", "4"}; !slices.Equal(got, want) {
		t.Errorf("records: %q, want %q", got, want)
	}
	if r := b.GetRecords()[0]; r.GetTimeUnixNano() != 7 || r.GetFileWrite().GetChanges() != 1 {
		t.Errorf("the first record is %v", r)
	}
	if !slices.Equal(b.GetRecords()[3].ProtoReflect().GetUnknown(), unknown) {
		t.Error("what only a later version knows is gone")
	}
	if !proto.Equal(first, before[0]) || !proto.Equal(second, before[1]) {
		t.Error("the batches were changed")
	}
}
