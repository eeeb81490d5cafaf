// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/ship/spool"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// source is what a Client sends over one stream: the queue of this run, or what an earlier run left.
type source interface {
	// hello says whose batches these are.
	hello() *spoorv1.Hello
	// next returns the first batch after a number, or nil. It must not be changed.
	next(after uint64) *spoorv1.Batch
	// acknowledge forgets batches up to a number.
	acknowledge(number uint64)
	// drop gives up a batch that the collector does not take, and counts its records.
	drop(number uint64)
}

// OpenSpool opens a folder for a run of the agent; hello says who it is.
func OpenSpool(dir string, limit int64, hello *spoorv1.Hello) (*spool.Spool, error) {
	owner, err := proto.MarshalOptions{Deterministic: true}.Marshal(hello)
	if err != nil {
		return nil, fmt.Errorf("encode hello for the spool: %w", err)
	}
	return spool.Open(spool.Options{Dir: dir, Limit: limit, Owner: owner})
}

// leftover is what an earlier run of the agent could not bring to a collector.
type leftover struct {
	run   *spool.Run
	who   *spoorv1.Hello
	queue *Queue // counts what is lost
	log   *slog.Logger
}

// leftovers returns what earlier runs left, oldest first.
func leftovers(q *Queue) []*leftover {
	if q.o.Spool == nil {
		return nil
	}
	var all []*leftover
	for _, run := range q.o.Spool.Left() {
		l := &leftover{run: run, who: &spoorv1.Hello{}, queue: q, log: q.o.Logger}
		if err := proto.Unmarshal(run.Owner, l.who); err != nil {
			l.log.Error("nobody can tell whose events these in the spool are", "error", err)
			l.discard()
			continue
		}
		l.who.Ended = timestamppb.New(run.Ended)
		all = append(all, l)
	}
	return all
}

func (l *leftover) hello() *spoorv1.Hello { return l.who }

func (l *leftover) next(after uint64) *spoorv1.Batch {
	for {
		number, payload, err := l.run.Read(after)
		if errors.Is(err, spool.ErrNone) {
			return nil
		}
		var b *spoorv1.Batch
		if err == nil {
			b, err = decode(payload)
		}
		if err == nil {
			return b
		}
		lost := l.give(number, damaged)
		l.log.Error("a batch in the spool is lost", "epoch", l.who.GetEpoch(), "batch", number, "records", lost, "error", err)
	}
}

func (l *leftover) acknowledge(number uint64) { l.say(l.run.Acknowledge(number)) }

func (l *leftover) drop(number uint64) { l.give(number, refused) }

// give gives a batch up for lost, and returns how many records that are.
func (l *leftover) give(number uint64, why reason) int {
	n, err := l.run.Drop(number)
	l.queue.lose(n, why)
	l.say(err)
	return n
}

// discard gives up all of it.
func (l *leftover) discard() {
	n, err := l.run.Discard()
	l.queue.lose(n, refused)
	l.say(err)
}

func (l *leftover) say(err error) {
	if err != nil {
		l.log.Error("the spool keeps what is not needed any more", "error", err)
	}
}
