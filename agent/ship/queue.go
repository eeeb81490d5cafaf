// SPDX-License-Identifier: Apache-2.0

// Package ship brings records to a collector and keeps them until it has them for good.
//
// It knows no sensors: it is given records and the process and instance that each belongs to.
package ship

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Records in one batch at most.
const maxBatchRecords = 2000

// Queue holds what the collector has not acknowledged: one open batch and the closed ones before it. It is bounded by
// records; what comes when it is full is dropped and counted.
type Queue struct {
	mu       sync.Mutex
	limit    int
	held     int
	sequence uint64 // of records
	number   uint64 // of batches
	open     *builder
	closed   []*spoorv1.Batch // oldest first
	dropped  uint64
	wake     chan struct{} // holds a token when there is something new to send
}

type builder struct {
	batch     *spoorv1.Batch
	processes map[*spoorv1.Process]uint32
	instances map[*spoorv1.Instance]uint32
}

// NewQueue returns a queue that holds at most limit records.
func NewQueue(limit int) *Queue {
	return &Queue{limit: limit, wake: make(chan struct{}, 1)}
}

// Add queues a record; process may be nil. It gives the record its sequence number. It reports false when the queue is
// full: then the record is dropped, and its number is not used.
func (q *Queue) Add(r *spoorv1.Record, process *spoorv1.Process, instance *spoorv1.Instance) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held >= q.limit {
		q.dropped++
		return false
	}
	if q.open == nil {
		q.open = &builder{batch: &spoorv1.Batch{}, processes: map[*spoorv1.Process]uint32{}, instances: map[*spoorv1.Instance]uint32{}}
	}
	q.sequence++
	q.held++
	r.Sequence = q.sequence
	r.Instance = q.open.instance(instance)
	r.Process = q.open.process(process, r.Instance)
	q.open.batch.Records = append(q.open.batch.Records, r)
	if len(q.open.batch.Records) >= maxBatchRecords {
		q.close()
	}
	return true
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
	q.closed = append(q.closed, q.open.batch)
	q.open = nil
	select {
	case q.wake <- struct{}{}:
	default: // a token is there already
	}
}

// next returns the first closed batch after number, or nil.
func (q *Queue) next(number uint64, now time.Time) *spoorv1.Batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.closed {
		if b.GetSequence() > number {
			b.Sent = timestamppb.New(now)
			return b
		}
	}
	return nil
}

// acknowledge forgets every batch up to number.
func (q *Queue) acknowledge(number uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.closed) > 0 && q.closed[0].GetSequence() <= number {
		q.held -= len(q.closed[0].GetRecords())
		q.closed[0] = nil
		q.closed = q.closed[1:]
	}
}

// Stats is the state of a queue.
type Stats struct {
	// Records waiting for their acknowledgement, and records that found no room since the start.
	Held    int
	Dropped uint64
	// The last sequence number that was given.
	Sequence uint64
}

// Stats returns the state of the queue.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Held: q.held, Dropped: q.dropped, Sequence: q.sequence}
}

// instance returns 1 + the position of an instance in the batch's table.
func (b *builder) instance(in *spoorv1.Instance) uint32 {
	if in == nil {
		return 0
	}
	n, ok := b.instances[in]
	if !ok {
		b.batch.Instances = append(b.batch.Instances, in)
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
		b.batch.ProcessInstances = append(b.batch.ProcessInstances, max(instance, 1)-1)
		n = uint32(len(b.batch.Processes)) //nolint:gosec // at most maxBatchRecords
		b.processes[p] = n
	}
	return n
}
