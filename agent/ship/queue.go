// SPDX-License-Identifier: Apache-2.0

// Package ship brings records to a collector and keeps them until it has them for good.
//
// It knows no sensors: it is given records and the process and instance that each belongs to.
package ship

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent/ship/spool"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// Records in one batch at most, and bytes after which it is closed: paths and arguments are made by whoever is watched, and a batch that a
	// collector finds too large is lost with all that is in it.
	maxBatchRecords = 2000
	maxBatchBytes   = 1 << 20
	// Bytes, as they are sent, of what is in memory only. Records are of some 200 bytes, so that these are hardly ever reached first.
	maxVolatileBytes = 64 << 20
	// Records of losses that are taken when nothing else is: what was not taken must be told.
	lossReserve = 1024
	// Batches that stay in memory though they are on disk, so that a collector that keeps up causes no reading.
	maxCached = 2 * maxInFlight
)

// QueueOptions of NewQueue.
type QueueOptions struct {
	// Records that may be in memory only; what comes when there are as many is dropped and counted.
	Limit int
	// Where batches outlive the process; nil keeps them in memory only. The queue closes it at the end of Keep, which must
	// run then.
	Spool  *spool.Spool
	Logger *slog.Logger
}

// Queue holds what the collector has not acknowledged: one open batch and the closed ones before it. It is bounded by
// records and bytes in memory and by the spool's bytes; what comes when it is full is dropped and counted.
type Queue struct {
	o QueueOptions

	mu       sync.Mutex
	held     int    // records
	volatile int    // those that are in memory only
	bytes    int    // of those
	cached   int    // batches that are in memory and on disk
	sequence uint64 // of records
	number   uint64 // of the last closed batch
	kept     uint64 // of the last one that was written to the spool
	open     *builder
	closed   []entry // oldest first, without a gap up to number
	lost     Lost
	disk     error // why the spool does not take more

	wake   chan struct{} // holds a token when there is something new to send
	unkept chan struct{} // the same for what is to be written to the spool, or when there may be room again
}

// entry is a closed batch.
type entry struct {
	batch   *spoorv1.Batch // nil when it is on disk only, or was dropped
	records int            // 0 when it was dropped
	bytes   int
	spooled bool
}

// Lost counts records that will not arrive, by reason.
type Lost struct {
	// There was no room in memory, or in the spool.
	QueueFull, SpoolFull uint64
	// They were in the spool, and cannot be read again; of what an earlier run left, there may be more.
	Damaged uint64
	// The collector does not take them.
	Refused uint64
}

// reason is one of those for which records are lost: it has its count.
type reason func(*Lost) *uint64

func damaged(l *Lost) *uint64 { return &l.Damaged }
func refused(l *Lost) *uint64 { return &l.Refused }

type builder struct {
	batch     *spoorv1.Batch
	bytes     int // of what is in it, about
	processes map[*spoorv1.Process]uint32
	instances map[*spoorv1.Instance]uint32
}

func newBuilder() *builder {
	return &builder{batch: &spoorv1.Batch{}, processes: map[*spoorv1.Process]uint32{}, instances: map[*spoorv1.Instance]uint32{}}
}

// NewQueue returns an empty queue.
func NewQueue(o QueueOptions) *Queue {
	q := &Queue{o: o, wake: make(chan struct{}, 1), unkept: make(chan struct{}, 1)}
	if o.Spool != nil {
		q.lost.Damaged = uint64(o.Spool.Found().LostRecords) //nolint:gosec // a count
	}
	return q
}

// Add queues a record; process may be nil. It gives the record its sequence number. It reports false when the queue is
// full: then the record is dropped, and its number is not used. There is some more room for losses; they are not counted when
// they find none, since their caller has them still.
func (q *Queue) Add(r *spoorv1.Record, process *spoorv1.Process, instance *spoorv1.Instance) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.takes(r) {
		return false
	}
	if q.open == nil {
		q.open = newBuilder()
	}
	q.sequence++
	q.held++
	q.volatile++
	r.Sequence = q.sequence
	r.Instance = q.open.instance(instance)
	r.Process = q.open.process(process, r.Instance)
	q.open.batch.Records = append(q.open.batch.Records, r)
	q.open.bytes += proto.Size(r)
	if len(q.open.batch.Records) >= maxBatchRecords || q.open.bytes >= maxBatchBytes {
		q.close()
	}
	return true
}

// takes reports whether there is room, and counts what finds none.
func (q *Queue) takes(r *spoorv1.Record) bool {
	loss := r.GetLoss() != nil
	full := q.full(loss)
	switch {
	case full && loss: // it is told later
	case full:
		q.lost.QueueFull++
	case q.crowded() && !loss:
		q.lost.SpoolFull++
	default:
		return true
	}
	return false
}

// full reports whether there is no room in memory for a record.
func (q *Queue) full(loss bool) bool {
	records, bytes := q.o.Limit, maxVolatileBytes
	if loss { // which are small; the last batch may have gone beyond the bound
		records, bytes = records+lossReserve, bytes+3*maxBatchBytes
	}
	return q.volatile >= records || q.bytes >= bytes
}

func (q *Queue) crowded() bool { return q.o.Spool != nil && q.o.Spool.Crowded() }

// Full reports whether records are being dropped.
func (q *Queue) Full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full(false) || q.crowded()
}

// Flush closes the open batch, so that it can be sent.
func (q *Queue) Flush() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.close()
}

func (q *Queue) close() {
	if q.open == nil {
		return
	}
	q.number++
	q.open.batch.Sequence = q.number
	q.closed = append(q.closed, entry{batch: q.open.batch, records: len(q.open.batch.GetRecords()), bytes: q.open.bytes})
	q.bytes += q.open.bytes
	q.open = nil
	signal(q.wake)
	if q.o.Spool != nil {
		signal(q.unkept)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // a token is there already
	}
}

// first returns the number of the oldest closed batch.
func (q *Queue) first() uint64 { return q.number - uint64(len(q.closed)) + 1 }

// at returns the entry of a number, or nil.
func (q *Queue) at(number uint64) *entry {
	if number < q.first() || number > q.number {
		return nil
	}
	return &q.closed[number-q.first()]
}

// next implements source. What is on disk only is read while the queue is not locked.
func (q *Queue) next(after uint64) *spoorv1.Batch {
	for {
		number, b := q.find(after)
		if number == 0 {
			return nil
		}
		if b == nil {
			var err error
			if b, err = q.read(number); err != nil {
				q.o.Logger.Error("a batch in the spool is lost", "batch", number, "error", err)
				q.give(number, damaged)
				continue
			}
		}
		return b
	}
}

// find returns the first closed batch after a number, nil when it is on disk; the number is 0 when there is none.
func (q *Queue) find(after uint64) (uint64, *spoorv1.Batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := max(after+1, q.first()); n <= q.number; n++ {
		if e := q.at(n); e.records > 0 {
			return n, e.batch
		}
	}
	return 0, nil
}

func (q *Queue) read(number uint64) (*spoorv1.Batch, error) {
	found, payload, err := q.o.Spool.Own().Read(number - 1)
	if err != nil {
		return nil, err
	}
	if found != number {
		return nil, fmt.Errorf("the next one is %d", found)
	}
	return decode(payload)
}

func decode(payload []byte) (*spoorv1.Batch, error) {
	b := &spoorv1.Batch{}
	if err := proto.Unmarshal(payload, b); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return b, nil
}

// acknowledge implements source: it forgets every batch up to number.
func (q *Queue) acknowledge(number uint64) {
	if q.o.Spool != nil {
		if err := q.o.Spool.Own().Acknowledge(number); err != nil {
			q.o.Logger.Error("the spool keeps what is not needed any more", "error", err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.closed) > 0 && q.first() <= number {
		q.forget(&q.closed[0])
		q.pop()
	}
	q.popDropped()
}

// forget takes what a batch holds off the sums.
func (q *Queue) forget(e *entry) {
	q.held -= e.records
	switch {
	case !e.spooled:
		q.volatile -= e.records
		q.bytes -= e.bytes
	case e.batch != nil:
		q.cached--
	}
}

func (q *Queue) pop() {
	q.closed[0] = entry{}
	q.closed = q.closed[1:]
	if q.o.Spool != nil {
		signal(q.unkept) // there may be room
	}
}

// popDropped removes batches that nobody will acknowledge.
func (q *Queue) popDropped() {
	for len(q.closed) > 0 && q.closed[0].records == 0 {
		q.pop()
	}
}

// drop implements source.
func (q *Queue) drop(number uint64) { q.give(number, refused) }

// give gives a batch up for lost.
func (q *Queue) give(number uint64, why reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.at(number)
	if e == nil || e.records == 0 {
		return
	}
	*why(&q.lost) += uint64(e.records) //nolint:gosec // a length
	q.forget(e)
	if e.spooled {
		if _, err := q.o.Spool.Own().Drop(number); err != nil {
			q.o.Logger.Error("the spool keeps what is not needed any more", "error", err)
		}
	}
	*e = entry{}
	q.popDropped()
}

// lose counts records of an earlier run that will not arrive.
func (q *Queue) lose(records int, why reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	*why(&q.lost) += uint64(records) //nolint:gosec // a length
}

// Stats is the state of a queue.
type Stats struct {
	// Records waiting for their acknowledgement, without those that earlier runs left; those of them that only this
	// process has; and what was lost since the start.
	Held, Volatile int
	Lost           Lost
	// The last sequence number that was given.
	Sequence uint64
	// Why the spool does not take more, though it is not full.
	Disk error
}

// Stats returns the state of the queue.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Held: q.held, Volatile: q.volatile, Lost: q.lost, Sequence: q.sequence, Disk: q.disk}
	if errors.Is(s.Disk, spool.ErrFull) {
		s.Disk = nil
	}
	return s
}

// instance returns 1 + the position of an instance in the batch's table.
func (b *builder) instance(in *spoorv1.Instance) uint32 {
	if in == nil {
		return 0
	}
	n, ok := b.instances[in]
	if !ok {
		b.batch.Instances = append(b.batch.Instances, in)
		b.bytes += proto.Size(in)
		n = uint32(len(b.batch.Instances)) //nolint:gosec // at most maxBatchRecords
		b.instances[in] = n
	}
	return n
}

func (b *builder) process(p *spoorv1.Process, instance uint32) uint32 {
	if p == nil {
		return 0
	}
	n, ok := b.processes[p]
	if !ok {
		b.batch.Processes = append(b.batch.Processes, p)
		b.bytes += proto.Size(p)
		b.batch.ProcessInstances = append(b.batch.ProcessInstances, max(instance, 1)-1)
		n = uint32(len(b.batch.Processes)) //nolint:gosec // at most maxBatchRecords
		b.processes[p] = n
	}
	return n
}
