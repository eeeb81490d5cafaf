// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// ledger is a collector that knows runs, and fails where records of one are missing or come twice.
type ledger struct {
	t       *testing.T
	mu      sync.Mutex
	acked   map[string]uint64 // by epoch: batches
	last    map[string]uint64 // by epoch: records
	skipped map[string]uint64 // by epoch: records that never came
	ended   map[string]bool   // by epoch: whether hello said that it had
	refuse  func(h *spoorv1.Hello, b *spoorv1.Batch) error
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, acked: map[string]uint64{}, last: map[string]uint64{}, skipped: map[string]uint64{}, ended: map[string]bool{}}
}

func (l *ledger) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	var who *spoorv1.Hello
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		if who == nil {
			who = m.GetHello()
		}
		if l.refuse != nil {
			if err := l.refuse(m.GetHello(), m.GetBatch()); err != nil {
				return err
			}
		}
		acked := l.take(who, m.GetBatch())
		answer := &spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Acknowledge{Acknowledge: &spoorv1.Acknowledge{Sequence: acked}}}
		if m.GetHello() != nil {
			answer = &spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{Acknowledged: acked}}}
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

func (l *ledger) take(who *spoorv1.Hello, b *spoorv1.Batch) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := who.GetEpoch()
	l.ended[e] = who.GetEnded() != nil
	if b.GetSequence() > l.acked[e] {
		for _, r := range b.GetRecords() {
			if r.GetSequence() <= l.last[e] {
				l.t.Errorf("%s: record %d comes after %d", e, r.GetSequence(), l.last[e])
			}
			l.skipped[e] += r.GetSequence() - l.last[e] - 1
			l.last[e] = r.GetSequence()
		}
		l.acked[e] = b.GetSequence()
	}
	return l.acked[e]
}

// life is one run of an agent, as far as its events are concerned.
type life struct {
	*testing.T
	queue *Queue
	stop  func()
}

func live(t *testing.T, dir, epoch, url string) *life {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	who := &spoorv1.Hello{Node: "n", Epoch: epoch}
	s, err := OpenSpool(dir, 16<<20, who)
	if err != nil {
		t.Fatal(err)
	}
	q := NewQueue(QueueOptions{Limit: 1000, Spool: s, Logger: logger})
	c := NewClient(Options{URL: url, Queue: q, Hello: who, Logger: logger})
	shipping, stopShipping := context.WithCancel(t.Context())
	keeping, stopKeeping := context.WithCancel(t.Context())
	shipped, kept := make(chan error, 1), make(chan error, 1)
	go func() { shipped <- c.Run(shipping) }()
	go func() { kept <- q.Keep(keeping) }()
	return &life{t, q, sync.OnceFunc(func() {
		stopShipping()
		err := <-shipped
		stopKeeping()
		if err := errors.Join(err, <-kept); err != nil {
			t.Error(err)
		}
	})}
}

// eventually waits for a state of the queue.
func (l *life) eventually(what string, is func(Stats) bool) {
	l.Helper()
	for deadline := time.Now().Add(time.Minute); !is(l.queue.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			l.Fatalf("%s: never, it stays %+v", what, l.queue.Stats())
		}
	}
}

func onDisk(s Stats) bool  { return s.Volatile == 0 }
func arrived(s Stats) bool { return s.Held == 0 }

// tell queues batches of three records.
func (l *life) tell(batches int) {
	for range batches {
		for range 3 {
			l.queue.Add(write(1), nil, nil)
		}
		l.queue.Flush()
	}
}

// nobody listens there.
const nobody = "http://127.0.0.1:1"

func TestWhatEarlierRunsLeftArrivesOnce(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, "a", nobody)
	a.tell(200) // more than is kept in memory
	a.eventually("on disk", onDisk)
	a.stop()
	b := live(t, dir, "b", nobody)
	b.tell(2)
	b.stop()

	l := newLedger(t)
	listener := listen(t, "127.0.0.1:0")
	defer serve(t, listener, l)()
	url := "http://" + listener.Addr().String()
	c := live(t, dir, "c", url)
	c.tell(100)
	c.eventually("all has arrived", arrived)
	c.stop()
	d := live(t, dir, "d", url) // finds nothing
	if found := d.queue.o.Spool.Found(); found.Records != 0 {
		t.Errorf("after everything was acknowledged there is %+v", found)
	}
	d.stop()
	for epoch, want := range map[string]uint64{"a": 600, "b": 6, "c": 300} {
		if l.last[epoch] != want || l.skipped[epoch] != 0 {
			t.Errorf("%s: the last record is %d and %d are missing, want %d and none", epoch, l.last[epoch], l.skipped[epoch], want)
		}
	}
	if !l.ended["a"] || !l.ended["b"] || l.ended["c"] {
		t.Errorf("which runs had ended: %v", l.ended)
	}
}

func TestABacklogIsReadFromDiskByTheRunThatMadeIt(t *testing.T) {
	l := newLedger(t)
	away := true
	l.refuse = func(*spoorv1.Hello, *spoorv1.Batch) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if away {
			return connect.NewError(connect.CodeUnavailable, errors.New("not yet"))
		}
		return nil
	}
	listener := listen(t, "127.0.0.1:0")
	defer serve(t, listener, l)()
	a := live(t, t.TempDir(), "a", "http://"+listener.Addr().String())
	defer a.stop()
	for range 20 { // of which memory holds a fraction
		a.tell(100)
		a.eventually("on disk", onDisk)
	}
	if s := a.queue.Stats(); s.Held != 6000 || s.Lost != (Lost{}) {
		t.Errorf("%+v, want 6000 held and none lost", s)
	}
	l.mu.Lock()
	away = false
	l.mu.Unlock()
	a.eventually("all has arrived", arrived)
	if l.last["a"] != 6000 || l.skipped["a"] != 0 {
		t.Errorf("the last record is %d and %d are missing", l.last["a"], l.skipped["a"])
	}
}

func TestAFullSpoolCountsAndTells(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, "a", nobody)
	large := func() *spoorv1.Record {
		return &spoorv1.Record{Fact: &spoorv1.Record_Dns{Dns: &spoorv1.Dns{Name: strings.Repeat("x", 10_000)}}}
	}
	taken := uint64(0)
	for dropped := 0; dropped < 50; {
		if a.queue.Add(large(), nil, nil) {
			taken++
		} else {
			dropped++
		}
		if taken%100 == 0 {
			a.queue.Flush()
			a.eventually("on disk", onDisk)
		}
	}
	if !a.queue.Full() || a.queue.Stats().Lost != (Lost{SpoolFull: 50}) {
		t.Errorf("after 50 found no room: %+v", a.queue.Stats())
	}
	if !a.queue.Add(loss(50), nil, nil) {
		t.Error("the loss cannot be told")
	}
	a.stop() // the loss is written, too

	l := newLedger(t)
	listener := listen(t, "127.0.0.1:0")
	defer serve(t, listener, l)()
	b := live(t, dir, "b", "http://"+listener.Addr().String())
	defer b.stop()
	for deadline := time.Now().Add(time.Minute); !b.queue.Add(write(1), nil, nil); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there is never room again")
		}
	}
	b.queue.Flush()
	b.eventually("all has arrived", arrived)
	if l.last["a"] != taken+1 || l.skipped["a"] != 0 {
		t.Errorf("of a the last record is %d and %d are missing, want %d and none", l.last["a"], l.skipped["a"], taken+1)
	}
}

func TestABatchThatIsNeverTakenIsGivenUp(t *testing.T) {
	l := newLedger(t)
	l.refuse = func(_ *spoorv1.Hello, b *spoorv1.Batch) error {
		// It may have come in one message with others, which must not go for it.
		for _, r := range b.GetRecords() {
			if r.GetSequence() == 8 {
				return connect.NewError(connect.CodeInvalidArgument, errors.New("the second record of batch 3 is nonsense"))
			}
		}
		return nil
	}
	listener := listen(t, "127.0.0.1:0")
	defer serve(t, listener, l)()
	dir := t.TempDir()
	a := live(t, dir, "a", nobody)
	a.tell(5)
	a.stop()
	b := live(t, dir, "b", "http://"+listener.Addr().String())
	defer b.stop()
	b.tell(5)
	b.eventually("all has arrived", arrived)
	if lost := b.queue.Stats().Lost; lost != (Lost{Refused: 6}) {
		t.Errorf("lost: %+v, want batch 3 of each run, of three records", lost)
	}
	for _, epoch := range []string{"a", "b"} {
		if l.acked[epoch] != 5 || l.skipped[epoch] != 3 {
			t.Errorf("%s: batch %d is the last, %d records are missing", epoch, l.acked[epoch], l.skipped[epoch])
		}
	}
}

// TestARunThatIsRefusedDoesNotHoldUpTheOthers: a machine may have got another name between two runs.
func TestARunThatIsRefusedDoesNotHoldUpTheOthers(t *testing.T) {
	l := newLedger(t)
	l.refuse = func(h *spoorv1.Hello, _ *spoorv1.Batch) error {
		if h.GetEpoch() == "a" {
			return connect.NewError(connect.CodePermissionDenied, errors.New("another node"))
		}
		return nil
	}
	listener := listen(t, "127.0.0.1:0")
	defer serve(t, listener, l)()
	dir := t.TempDir()
	for i, epoch := range []string{"a", "b"} {
		r := live(t, dir, epoch, nobody)
		r.tell(1 + i)
		r.stop()
	}
	c := live(t, dir, "c", "http://"+listener.Addr().String())
	c.tell(3)
	c.eventually("all has arrived", arrived)
	c.stop()
	if fmt.Sprint(l.acked) != "map[b:2 c:3]" {
		t.Errorf("batches that arrived: %v, want 2 of b and 3 of c", l.acked)
	}
	d := live(t, dir, "d", nobody)
	defer d.stop()
	if left := d.queue.o.Spool.Left(); len(left) != 1 || left[0].Records() != 3 {
		t.Errorf("%d runs are left, want the one that was refused", len(left))
	}
}
