// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory returns a queue without a spool.
func memory(limit int) *Queue {
	return NewQueue(QueueOptions{Limit: limit, Logger: slog.New(slog.DiscardHandler)})
}

// write makes a record that is no loss, for which there is no reserve.
func write(n uint32) *spoorv1.Record {
	return &spoorv1.Record{Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{Changes: n}}}
}

func loss(n uint64) *spoorv1.Record {
	return &spoorv1.Record{Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{Count: n}}}
}

func TestQueueBuildsSelfContainedBatches(t *testing.T) {
	q := memory(100)
	host, unit := &spoorv1.Instance{Id: "host"}, &spoorv1.Instance{Id: "unit"}
	sh, ls := &spoorv1.Process{Comm: "sh"}, &spoorv1.Process{Comm: "ls"}
	q.Add(loss(1), sh, host)
	q.Add(loss(2), ls, unit)
	q.Add(loss(3), sh, host)
	q.Add(loss(4), nil, host)
	q.Flush()
	b := q.next(0)
	if len(b.GetProcesses()) != 2 || len(b.GetInstances()) != 2 || !slices.Equal(b.GetProcessInstances(), []uint32{0, 1}) {
		t.Fatalf("tables: %v", b)
	}
	var got [][3]uint32
	for _, r := range b.GetRecords() {
		got = append(got, [3]uint32{uint32(r.GetSequence()), r.GetProcess(), r.GetInstance()})
	}
	if want := [][3]uint32{{1, 1, 1}, {2, 2, 2}, {3, 1, 1}, {4, 0, 1}}; !slices.Equal(got, want) {
		t.Errorf("records (sequence, process, instance) %v, want %v", got, want)
	}
}

func TestQueueDropsWhatItCannotHoldAndCounts(t *testing.T) {
	q := memory(3)
	for i := range uint64(5) {
		if got, want := q.Add(write(uint32(i)), nil, nil), i < 3; got != want {
			t.Errorf("Add %d = %v, want %v", i, got, want)
		}
	}
	if s := q.Stats(); s != (Stats{Held: 3, Volatile: 3, Lost: Lost{QueueFull: 2}, Sequence: 3}) {
		t.Errorf("Stats = %+v", s)
	}
	if !q.Full() || !q.Add(loss(2), nil, nil) {
		t.Error("what was lost cannot be told")
	}
	q.Flush()
	q.acknowledge(1)
	if !q.Add(write(9), nil, nil) {
		t.Error("no room after the acknowledgement")
	}
}

// centre is the other end of the wire: it keeps what it acknowledged, and can be told to break.
type centre struct {
	mu      sync.Mutex
	batches map[uint64]int // number -> how often it was kept
	records int
	last    uint64
	// Breaks the stream after this many batches, each time; 0 never.
	breakAfter int
}

func (c *centre) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	seen := 0
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		if m.GetHello() != nil {
			c.mu.Lock()
			last := c.last
			c.mu.Unlock()
			if err := s.Send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{Acknowledged: last}}}); err != nil {
				return err
			}
			continue
		}
		b := m.GetBatch()
		c.mu.Lock()
		if b.GetSequence() > c.last {
			c.batches[b.GetSequence()]++
			c.records += len(b.GetRecords())
			c.last = b.GetSequence()
		}
		last := c.last
		c.mu.Unlock()
		if seen++; seen == c.breakAfter { // kept, but the acknowledgement never arrives
			return connect.NewError(connect.CodeUnavailable, errors.New("broken on purpose"))
		}
		if err := s.Send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Acknowledge{Acknowledge: &spoorv1.Acknowledge{Sequence: last}}}); err != nil {
			return err
		}
	}
}

func serve(t *testing.T, l net.Listener, c spoorv1connect.AgentServiceHandler) (stop func()) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewAgentServiceHandler(c))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	return func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-done
	}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run starts a client and returns what stops it and waits for it.
func run(t *testing.T, url string, q *Queue) (*Client, func()) {
	t.Helper()
	c := NewClient(Options{URL: url, Queue: q, Hello: &spoorv1.Hello{Node: "n"}, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestEveryBatchArrivesOnceThoughStreamsBreak(t *testing.T) {
	c := &centre{batches: map[uint64]int{}, breakAfter: 3}
	l := listen(t, "127.0.0.1:0")
	defer serve(t, l, c)()
	q := memory(20 * gatherRecords)
	client, stop := run(t, "http://"+l.Addr().String(), q)
	defer stop()
	for range 20 {
		for i := range uint32(gatherRecords) { // a message of its own
			q.Add(write(i), nil, nil)
		}
		q.Flush()
	}
	if err := client.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.batches) != 20 || c.records != 20*gatherRecords {
		t.Errorf("%d batches with %d records were kept, want 20 and %d", len(c.batches), c.records, 20*gatherRecords)
	}
	for n, times := range c.batches {
		if times != 1 {
			t.Errorf("batch %d was kept %d times", n, times)
		}
	}
	if client.Attempts() < 6 {
		t.Errorf("%d streams, want a new one after every third batch", client.Attempts())
	}
}

func TestACollectorThatComesLaterGetsEverything(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	q := memory(1000)
	q.Add(loss(1), nil, nil)
	q.Flush()
	client, stop := run(t, "http://"+address, q)
	defer stop()
	for deadline := time.Now().Add(time.Minute); client.Attempts() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client did not try again")
		}
	}
	c := &centre{batches: map[uint64]int{}}
	defer serve(t, listen(t, address), c)()
	if err := client.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.records != 1 {
		t.Errorf("%d records arrived, want 1", c.records)
	}
}

func TestDrainGivesUpAndSaysWhatIsLeft(t *testing.T) {
	q := memory(10)
	q.Add(loss(1), nil, nil)
	c := NewClient(Options{URL: "http://127.0.0.1:1", Queue: q, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Drain(ctx); err == nil {
		t.Error("Drain reported success with an event that nobody took")
	}
}

func TestBatchesHaveABoundInBytes(t *testing.T) {
	q := memory(1 << 30)
	host := &spoorv1.Instance{Id: "host"}
	long := strings.Repeat("x", 16<<10)
	record := func() *spoorv1.Record {
		r := write(1)
		r.GetFileWrite().File = &spoorv1.File{Path: long}
		return r
	}
	added := 0
	for q.Add(record(), &spoorv1.Process{Exe: long, Args: []string{long}}, host) {
		if added++; added > 2*maxVolatileBytes/len(long) {
			t.Fatal("there is no bound")
		}
	}
	if got := added * 3 * len(long); got < maxVolatileBytes/2 || got > maxVolatileBytes+2*maxBatchBytes {
		t.Errorf("%d bytes were taken", got)
	}
	if s := q.Stats(); !q.Full() || s.Lost.QueueFull != 1 || s.Held != added {
		t.Errorf("Full is %v, Stats are %+v; %d were taken", q.Full(), s, added)
	}
	if !q.Add(loss(1), nil, nil) {
		t.Error("what was lost cannot be told")
	}
	q.Flush()
	arrived, last := 0, uint64(0)
	for b := q.next(0); b != nil; b = q.next(last) {
		if size := proto.Size(b); size > maxBatchBytes+4*len(long) {
			t.Fatalf("a batch has %d bytes", size)
		}
		arrived, last = arrived+len(b.GetRecords()), b.GetSequence()
	}
	q.acknowledge(last)
	if s := q.Stats(); arrived != added+1 || s.Held != 0 || q.bytes != 0 || !q.Add(record(), nil, host) {
		t.Errorf("%d of %d arrived; %d bytes wait still, and Stats are %+v", arrived, added+1, q.bytes, s)
	}
}
