// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"time"

	"connectrpc.com/connect"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Bounds of what one agent may say. They are far above what any agent of ours sends; they keep a broken or hostile
// one from filling the store with nonsense.
const (
	maxRecords      = 50_000
	maxTable        = 50_000 // processes, instances
	maxName         = 1 << 10
	maxPath         = 16 << 10 // 4096 bytes, each of which may have become three (U+FFFD)
	maxArgs         = 1 << 20
	maxArgCount     = 1 << 16
	maxReason       = 4 << 10
	maxExecID       = 64
	maxAddresses    = 256
	maxLabels       = 4 * spoorv1.MaxLabels
	maxLabelBytes   = 4 * spoorv1.MaxLabelBytes
	maxTranslations = 64
	maxClientPorts  = 256
	// maxAhead is how far in the future an event may be, by the collector's clock.
	maxAhead = 24 * time.Hour
)

// A RefusedError says why a message of an agent cannot be taken. Sending it again will not help.
type RefusedError struct {
	// Reason is one of a few words, for counting.
	Reason string
	// Problem says what is wrong and where.
	Problem string
}

func (e *RefusedError) Error() string { return e.Problem }

func refuse(reason, format string, args ...any) error {
	return &RefusedError{Reason: reason, Problem: fmt.Sprintf(format, args...)}
}

// Reasons of a RefusedError.
const (
	reasonHello    = "hello"
	reasonProtocol = "protocol"
	reasonSize     = "size"
	reasonIndex    = "index"
	reasonSequence = "sequence"
	reasonTime     = "time"
	reasonFact     = "fact"
	reasonIdentity = "identity"
	// Of messages that could not be read at all.
	reasonMessage   = "message_size"
	reasonMalformed = "malformed"
)

// code is what the agent is answered. Agents give up what they sent after some of the codes, and only then.
func (e *RefusedError) code() connect.Code {
	switch e.Reason {
	case reasonIdentity:
		return connect.CodePermissionDenied
	case reasonMessage:
		return connect.CodeResourceExhausted
	default:
		return connect.CodeInvalidArgument
	}
}

// Expand checks a batch of a run and returns its records as events, without ids. Events of one process or instance
// share it. The batch must not be used any more.
func Expand(run store.Run, b *spoorv1.Batch, now time.Time) ([]*spoorv1.Event, error) {
	if b.GetSequence() == 0 {
		return nil, refuse(reasonSequence, "sequence of the batch is 0: batches are numbered from 1")
	}
	if b.GetSequence() > math.MaxInt64 {
		return nil, refuse(reasonSequence, "sequence %d of the batch is too large", b.GetSequence())
	}
	if n := len(b.GetRecords()); n > maxRecords {
		return nil, refuse(reasonSize, "batch %d has %d records, at most %d are taken", b.GetSequence(), n, maxRecords)
	}
	if err := checkTables(run, b); err != nil {
		return nil, inBatch(b, err)
	}
	if err := checkTime(b.GetSent()); err != nil {
		return nil, inBatch(b, fmt.Errorf("sent: %w", err))
	}
	evs := make([]*spoorv1.Event, 0, len(b.GetRecords()))
	last := uint64(0)
	for i, r := range b.GetRecords() {
		ev, err := expand(run, b, r, now)
		if err != nil {
			return nil, inBatch(b, fmt.Errorf("record %d: %w", i, err))
		}
		if ev.GetSequence() <= last {
			return nil, inBatch(b, refuse(reasonSequence, "record %d: its sequence %d is not above %d, that of the record before", i, ev.GetSequence(), last))
		}
		last = ev.GetSequence()
		evs = append(evs, ev)
	}
	return evs, nil
}

// inBatch adds where it was and keeps the reason.
func inBatch(b *spoorv1.Batch, err error) error {
	return fmt.Errorf("batch %d: %w", b.GetSequence(), err)
}

func checkTables(run store.Run, b *spoorv1.Batch) error {
	processes, instances := len(b.GetProcesses()), len(b.GetInstances())
	if processes > maxTable || instances > maxTable {
		return refuse(reasonSize, "%d processes and %d instances, at most %d of each are taken", processes, instances, maxTable)
	}
	if n := len(b.GetProcessInstances()); n != processes {
		return refuse(reasonIndex, "process_instances has %d entries for %d processes", n, processes)
	}
	for i, at := range b.GetProcessInstances() {
		// An agent that knows no instance at all writes 0.
		if int64(at) >= int64(max(instances, 1)) {
			return refuse(reasonIndex, "process_instances[%d] is %d, but there are %d instances", i, at, instances)
		}
	}
	for i, p := range b.GetProcesses() {
		if err := checkProcess(p); err != nil {
			return fmt.Errorf("processes[%d]: %w", i, err)
		}
	}
	for i, in := range b.GetInstances() {
		if err := checkInstance(run, in); err != nil {
			return fmt.Errorf("instances[%d]: %w", i, err)
		}
	}
	return nil
}

func expand(run store.Run, b *spoorv1.Batch, r *spoorv1.Record, now time.Time) (*spoorv1.Event, error) {
	if r.GetSequence() > math.MaxInt64 {
		return nil, refuse(reasonSequence, "its sequence %d is too large", r.GetSequence())
	}
	at := r.GetTimeUnixNano()
	switch latest := now.Add(maxAhead); {
	case at == 0:
		return nil, refuse(reasonTime, "its time is not set")
	case at > math.MaxInt64 || time.Unix(0, int64(at)).After(latest):
		return nil, refuse(reasonTime, "its time %d is after %s: check the clock of node %s", at, latest.UTC().Format(time.RFC3339), run.Node)
	}
	ev := &spoorv1.Event{
		Sequence: r.GetSequence(), Epoch: run.Epoch, Node: run.Node,
		Time: &timestamppb.Timestamp{Seconds: int64(at / 1e9), Nanos: int32(at % 1e9)},
	}
	if p := r.GetProcess(); p > 0 {
		if int64(p) > int64(len(b.GetProcesses())) {
			return nil, refuse(reasonIndex, "its process is %d, but there are %d", p, len(b.GetProcesses()))
		}
		ev.Process = b.GetProcesses()[p-1]
		// A process belongs to an instance whether the record says so or not.
		if at := b.GetProcessInstances()[p-1]; int64(at) < int64(len(b.GetInstances())) {
			ev.Instance = b.GetInstances()[at]
		}
	}
	if in := r.GetInstance(); in > 0 {
		if int64(in) > int64(len(b.GetInstances())) {
			return nil, refuse(reasonIndex, "its instance is %d, but there are %d", in, len(b.GetInstances()))
		}
		ev.Instance = b.GetInstances()[in-1]
	}
	if err := moveFact(r, ev); err != nil {
		return nil, err
	}
	kind := store.KindOf(ev)
	ev.Kind = kind.String()
	if err := checkFact(ev); err != nil {
		return nil, fmt.Errorf("%s: %w", ev.GetKind(), err)
	}
	return ev, nil
}

// foreign keeps of the unknown fields of a record those that are unknown in an Event as well: the others would come
// out as something that the agent did not say.
func foreign(unknown protoreflect.RawFields) (kept protoreflect.RawFields) {
	fields := (&spoorv1.Event{}).ProtoReflect().Descriptor().Fields()
	for len(unknown) > 0 {
		number, _, n := protowire.ConsumeField(unknown)
		if n < 0 {
			return kept
		}
		if fields.ByNumber(number) == nil {
			kept = append(kept, unknown[:n]...)
		}
		unknown = unknown[n:]
	}
	return kept
}

// moveFact takes the fact over without copying it. A fact that only a newer agent knows is in the unknown fields,
// with the number that it has in Event as well.
func moveFact(r *spoorv1.Record, ev *spoorv1.Event) error {
	if ev.TakeFact(r) {
		return nil
	}
	unknown := foreign(r.ProtoReflect().GetUnknown())
	if len(unknown) == 0 {
		return refuse(reasonFact, "it has no fact")
	}
	if len(unknown) > maxPath {
		return refuse(reasonSize, "its unknown fact has %d bytes, at most %d are taken", len(unknown), maxPath)
	}
	ev.ProtoReflect().SetUnknown(unknown)
	return nil
}
