// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"time"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// pace is how long small batches wait for those behind them, since the last message: each message costs a collector as much as some
	// events. They also wait for the acknowledgement of what is on its way, as RFC 896 has it for segments: the later a collector
	// answers, the more goes in a message, and the less an event costs it.
	pace = time.Second
	// gatherRecords and gatherBytes are where a message is worth sending at once.
	gatherRecords = 500
	gatherBytes   = 256 << 10
)

// gather returns what goes into the next message: the first batch after a number and, while that is little, those behind it, under the
// number of the last. The collector has it whole or not at all, so all of their numbers are taken with that one. It says whether it is
// worth sending at once. The batch must not be changed.
func gather(src source, after uint64) (b *spoorv1.Batch, full bool) {
	first := src.next(after)
	if first == nil {
		return nil, false
	}
	size := proto.Size(first)
	if large(first, size) {
		return first, true
	}
	var all *builder
	for b = first; ; b = all.batch {
		next := src.next(b.GetSequence())
		if next == nil {
			return b, false
		}
		if all == nil {
			all = newBuilder()
			all.add(first)
		}
		all.add(next)
		if size += proto.Size(next); large(all.batch, size) {
			return all.batch, true
		}
	}
}

func large(b *spoorv1.Batch, size int) bool {
	return len(b.GetRecords()) >= gatherRecords || size >= gatherBytes
}

// add takes over the records of another batch, which stays as it is.
func (b *builder) add(other *spoorv1.Batch) {
	b.batch.Sequence = other.GetSequence()
	instance := func(at uint32) uint32 {
		if int(at) >= len(other.GetInstances()) {
			return 0 // of an agent that knows none
		}
		return b.instance(other.GetInstances()[at])
	}
	for _, r := range other.GetRecords() {
		moved := &spoorv1.Record{Sequence: r.GetSequence(), TimeUnixNano: r.GetTimeUnixNano(), Fact: r.GetFact()}
		if unknown := r.ProtoReflect().GetUnknown(); len(unknown) > 0 { // a later version may have left it in the spool
			moved.ProtoReflect().SetUnknown(unknown)
		}
		if p := r.GetProcess(); p > 0 {
			moved.Process = b.process(other.GetProcesses()[p-1], instance(other.GetProcessInstances()[p-1]))
		}
		if in := r.GetInstance(); in > 0 {
			moved.Instance = instance(in - 1)
		}
		b.batch.Records = append(b.batch.Records, moved)
	}
}
