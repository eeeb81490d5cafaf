// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Bits of event.has: what was there, as opposed to empty.
const (
	hasProcess = 1 << iota
	hasInstance
	hasWorkload
	hasPeerWorkload
)

const eventColumns = `id, txn, received, time, kind, cluster, node, epoch, sequence, has,
	workload_cluster, workload_namespace, workload_kind, workload_name, instance_id, pod, container,
	exec_id, parent_exec_id, tgid, comm, exe, path, target_path, storage_class, fs_type,
	transport, direction, local_address, local_port, peer_address, peer_port, peer_dns_name,
	peer_cluster, peer_namespace, peer_kind, peer_name, peer_exec_id, source, reason, numbers, process, instance, fact`

// eventRows are a block for the table event.
type eventRows struct {
	encoder
	// The bytes of messages that events share by pointer.
	processes map[*spoorv1.Process][]byte
	instances map[*spoorv1.Instance][]byte
}

func newEventRows() *eventRows {
	return &eventRows{processes: map[*spoorv1.Process][]byte{}, instances: map[*spoorv1.Instance][]byte{}}
}

var deterministic = proto.MarshalOptions{Deterministic: true}

// shared returns the bytes of a message, which are made once.
func shared[M interface {
	proto.Message
	comparable
}](known map[M][]byte, m M) ([]byte, error) {
	b, ok := known[m]
	if !ok {
		var err error
		if b, err = deterministic.Marshal(m); err != nil {
			return nil, err
		}
		known[m] = b
	}
	return b, nil
}

// columns of a fact that people and queries ask for; what the numbers mean depends on the kind, see views.sql.
type columns struct {
	path, target   string
	class          spoorv1.StorageClass
	fsType         string
	transport      spoorv1.Transport
	direction      spoorv1.Direction
	local, peer    *spoorv1.Endpoint
	source, reason string
	numbers        []uint64
}

func columnsOf(ev *spoorv1.Event) columns {
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		return columns{numbers: []uint64{uint64(f.ProcessStart.GetCause())}}
	case *spoorv1.Event_ProcessExit:
		return columns{numbers: []uint64{uint64(f.ProcessExit.GetExitCode()), uint64(f.ProcessExit.GetSignal())}}
	case *spoorv1.Event_FileWrite:
		m := f.FileWrite
		return ofFile(m.GetFile(), "", uint64(m.GetChanges()), m.GetSizeBefore(), m.GetSizeAfter(), one(m.GetData()))
	case *spoorv1.Event_FileChange:
		m := f.FileChange
		return ofFile(m.GetFile(), m.GetTargetPath(), uint64(m.GetOperation()), uint64(m.GetMerged()))
	case *spoorv1.Event_Share:
		return ofFile(f.Share.GetFile(), "", uint64(f.Share.GetKind()))
	case *spoorv1.Event_Flow:
		m := f.Flow
		return columns{
			transport: m.GetTransport(), direction: m.GetDirection(), local: m.GetLocal(), peer: m.GetPeer(),
			numbers: []uint64{uint64(m.GetOpened()), uint64(m.GetClosed()), uint64(m.GetRefused()), uint64(m.GetTimedOut()), m.GetBytesSent(), m.GetBytesReceived()},
		}
	case *spoorv1.Event_Listen:
		return columns{transport: f.Listen.GetTransport(), local: f.Listen.GetLocal(), numbers: []uint64{one(f.Listen.GetClosed())}}
	case *spoorv1.Event_Dns:
		return columns{source: f.Dns.GetName(), numbers: []uint64{uint64(f.Dns.GetTtlSeconds())}}
	case *spoorv1.Event_Loss:
		return columns{source: f.Loss.GetSource(), reason: f.Loss.GetReason(), numbers: []uint64{f.Loss.GetCount()}}
	case *spoorv1.Event_Coverage:
		return columns{source: f.Coverage.GetSensor(), reason: f.Coverage.GetReason()}
	}
	return columns{}
}

func ofFile(f *spoorv1.File, target string, numbers ...uint64) columns {
	numbers = append(numbers, uint64(f.GetDev()), f.GetInode())
	return columns{path: f.GetPath(), target: target, class: f.GetStorageClass(), fsType: f.GetFsType(), numbers: numbers}
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// add appends an event of a run.
func (e *eventRows) add(txn uint64, b *store.Batch, ev *spoorv1.Event) error {
	t, err := store.Nanos(ev.GetTime())
	if err != nil {
		return err
	}
	in, p := ev.GetInstance(), ev.GetProcess()
	var process, instance []byte
	has := uint8(0)
	if p != nil {
		has |= hasProcess
		if process, err = shared(e.processes, p); err != nil {
			return err
		}
	}
	if in != nil {
		has |= hasInstance
		if instance, err = shared(e.instances, in); err != nil {
			return err
		}
	}
	w := in.GetWorkload()
	if w != nil {
		has |= hasWorkload
	}
	c := columnsOf(ev)
	peer := c.peer.GetWorkload()
	if peer != nil {
		has |= hasPeerWorkload
	}
	// What is left when columns and the other parts are taken away.
	rest := &spoorv1.Event{Fact: ev.GetFact()}
	rest.ProtoReflect().SetUnknown(ev.ProtoReflect().GetUnknown())
	fact, err := deterministic.Marshal(rest)
	if err != nil {
		return err
	}

	e.u64(ev.GetId())
	e.u64(txn)
	e.seconds(b.Received)
	e.i64(t)
	e.u8(uint8(store.KindOf(ev)))
	e.text(b.Run.Cluster)
	e.text(ev.GetNode())
	e.text(ev.GetEpoch())
	e.u64(ev.GetSequence())
	e.u8(has)
	e.workload(w)
	e.text(in.GetId())
	e.text(in.GetPodName())
	e.text(in.GetContainerName())
	e.text(p.GetExecId())
	e.text(p.GetParentExecId())
	e.u32(p.GetTgid())
	e.text(p.GetComm())
	e.text(p.GetExe())
	e.text(c.path)
	e.text(c.target)
	e.u8(small(int32(c.class)))
	e.text(c.fsType)
	e.u8(small(int32(c.transport)))
	e.u8(small(int32(c.direction)))
	e.text(c.local.GetAddress())
	e.u32(c.local.GetPort())
	e.text(c.peer.GetAddress())
	e.u32(c.peer.GetPort())
	e.text(c.peer.GetDnsName())
	e.workload(peer)
	e.text(c.peer.GetExecId())
	e.text(c.source)
	e.text(c.reason)
	e.b = appendArray(e.b, c.numbers)
	e.bytes(process)
	e.bytes(instance)
	e.bytes(fact)
	e.rows++
	return nil
}

func (e *encoder) workload(w *spoorv1.Workload) {
	e.text(w.GetCluster())
	e.text(w.GetNamespace())
	e.text(w.GetKind())
	e.text(w.GetName())
}

// small is an enum for a column of one byte: what a newer version knows more is 255 there, and itself in the fact.
func small(n int32) uint8 { return uint8(min(max(n, 0), math.MaxUint8)) }

func appendArray[N int64 | uint64](b []byte, numbers []N) []byte {
	b = binary.AppendUvarint(b, uint64(len(numbers)))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// selected are what scanEvent reads, in its order.
const selected = "id, time, kind, node, epoch, sequence, has, process, instance, fact"

// eventReader turns rows into events. What repeats is shared by the events of one answer.
type eventReader struct {
	processes map[string]*spoorv1.Process
	instances map[string]*spoorv1.Instance
}

func newEventReader() *eventReader {
	return &eventReader{processes: map[string]*spoorv1.Process{}, instances: map[string]*spoorv1.Instance{}}
}

func (r *eventReader) scan(d *decoder) (*spoorv1.Event, error) {
	ev := &spoorv1.Event{}
	id, t, kind := d.u64(), d.i64(), store.Kind(d.u8())
	node, epoch, sequence, has := d.text(), d.text(), d.u64(), d.u8()
	process, instance, fact := d.bytes(), d.bytes(), d.bytes()
	if d.err != nil {
		return nil, d.err
	}
	if err := proto.Unmarshal(fact, ev); err != nil {
		return nil, fmt.Errorf("event %d: %w", id, err)
	}
	ev.Id, ev.Time, ev.Kind, ev.Node, ev.Epoch, ev.Sequence = id, timestamp(t), kind.String(), node, epoch, sequence
	var err error
	if has&hasProcess != 0 {
		if ev.Process, err = known(r.processes, process); err != nil {
			return nil, fmt.Errorf("process of event %d: %w", id, err)
		}
	}
	if has&hasInstance != 0 {
		if ev.Instance, err = known(r.instances, instance); err != nil {
			return nil, fmt.Errorf("instance of event %d: %w", id, err)
		}
	}
	return ev, nil
}

// known decodes a message once.
func known[T any, M interface {
	*T
	proto.Message
}](all map[string]M, b []byte) (M, error) {
	if m, ok := all[string(b)]; ok {
		return m, nil
	}
	m := M(new(T))
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, err
	}
	all[string(b)] = m
	return m, nil
}

func timestamp(ns int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, ns)) }
