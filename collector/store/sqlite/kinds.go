// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
)

// row is an event as the table keeps it. What the columns mean:
//
//	kind           file  peer  other         a          b            c          d          e      f
//	process_start                            cause
//	process_exit                             exit code  signal
//	file_write     file                      changes    size before  after      data       flags
//	file_change    file        target: file  operation  merged                             flags
//	flow                 peer  party         opened     closed       refused    timed out  sent   received
//	listen               peer                closed
//	dns                                      name       ttl
//	share          file        party         kind                                          flags
//	loss                                     source     reason       count
//	coverage                                 sensor     tier         reason
//
// Words are references to string. A fact that lacks the entity that its kind has (a flow without ends) is kept whole
// in rest. Otherwise rest holds the fields that have no column; they are merged over what the columns say.
type row struct {
	file, peer, other int64 // 0 is null
	first, last       optional
	n                 [6]int64
	rest              []byte
}

// Flags of a file at the time of the event, in column e.
const (
	flagTruncated = 1 << iota
	flagUnlinked
)

func (w *writer) encode(node int64, ev *spoorv1.Event, r *row) (err error) {
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		r.n[0] = int64(fact.ProcessStart.GetCause())
		r.rest, err = restOf(fact.ProcessStart, processStartOthers)
	case *spoorv1.Event_ProcessExit:
		r.n[0], r.n[1] = int64(fact.ProcessExit.GetExitCode()), int64(fact.ProcessExit.GetSignal())
		r.rest, err = restOf(fact.ProcessExit, processExitOthers)
	case *spoorv1.Event_FileWrite:
		return w.encodeFileWrite(node, fact.FileWrite, r)
	case *spoorv1.Event_FileChange:
		return w.encodeFileChange(node, fact.FileChange, r)
	case *spoorv1.Event_Flow:
		return w.encodeFlow(fact.Flow, r)
	case *spoorv1.Event_Listen:
		return w.encodeListen(fact.Listen, r)
	case *spoorv1.Event_Dns:
		r.n[1] = int64(fact.Dns.GetTtlSeconds())
		if r.n[0], err = w.text(fact.Dns.GetName()); err != nil {
			return err
		}
		r.rest, err = restOf(fact.Dns, dnsOthers)
	case *spoorv1.Event_Share:
		return w.encodeShare(node, fact.Share, r)
	case *spoorv1.Event_Loss:
		r.n[2] = int64(fact.Loss.GetCount())
		if err := w.texts(r, fact.Loss.GetSource(), fact.Loss.GetReason()); err != nil {
			return err
		}
		r.rest, err = restOf(fact.Loss, lossOthers)
	case *spoorv1.Event_Coverage:
		if err := w.texts(r, fact.Coverage.GetSensor(), fact.Coverage.GetTier(), fact.Coverage.GetReason()); err != nil {
			return err
		}
		r.rest, err = restOf(fact.Coverage, coverageOthers)
	case nil:
		if u := ev.ProtoReflect().GetUnknown(); len(u) > 0 {
			r.rest = u
		}
	default:
		return fmt.Errorf("no encoding for %T", fact)
	}
	return err
}

func (w *writer) texts(r *row, words ...string) (err error) {
	for i, s := range words {
		if r.n[i], err = w.text(s); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) encodeFileWrite(node int64, m *spoorv1.FileWrite, r *row) (err error) {
	r.n = [6]int64{int64(m.GetChanges()), int64(m.GetSizeBefore()), int64(m.GetSizeAfter()), boolInt(m.GetData()), fileFlags(m.GetFile())}
	if r.first, err = nanos(m.GetFirst()); err != nil {
		return err
	}
	if r.last, err = nanos(m.GetLast()); err != nil {
		return err
	}
	if m.GetFile() == nil {
		r.rest, err = proto.Marshal(m)
		return err
	}
	if r.file, err = w.file(node, m.GetFile()); err != nil {
		return err
	}
	r.rest, err = restOf(m, fileWriteOthers)
	return err
}

func (w *writer) encodeFileChange(node int64, m *spoorv1.FileChange, r *row) (err error) {
	r.n[0], r.n[1], r.n[4] = int64(m.GetOperation()), int64(m.GetMerged()), fileFlags(m.GetFile())
	if m.GetFile() == nil {
		r.rest, err = proto.Marshal(m)
		return err
	}
	if r.file, err = w.file(node, m.GetFile()); err != nil {
		return err
	}
	if m.GetTargetPath() != "" {
		// As a file of its own the new path is found by the same search as all paths.
		f := m.GetFile()
		target := &spoorv1.File{
			Path: m.GetTargetPath(), Dev: f.GetDev(), Inode: f.GetInode(), Generation: f.GetGeneration(),
			FsType: f.GetFsType(), StorageClass: f.GetStorageClass(),
		}
		if r.other, err = w.file(node, target); err != nil {
			return err
		}
	}
	r.rest, err = restOf(m, fileChangeOthers)
	return err
}

func (w *writer) encodeFlow(m *spoorv1.Flow, r *row) (err error) {
	r.n = [6]int64{
		int64(m.GetOpened()), int64(m.GetClosed()), int64(m.GetRefused()), int64(m.GetTimedOut()),
		int64(m.GetBytesSent()), int64(m.GetBytesReceived()),
	}
	if r.first, err = nanos(m.GetFirst()); err != nil {
		return err
	}
	if r.last, err = nanos(m.GetLast()); err != nil {
		return err
	}
	local, peer := m.GetLocal(), m.GetPeer()
	if local == nil || peer == nil {
		r.rest, err = proto.Marshal(m)
		return err
	}
	if r.peer, err = w.peer(peerKey{
		transport: m.GetTransport(), direction: m.GetDirection(), netNS: m.GetNetNs(), local: local.GetAddress(),
		localPort: local.GetPort(), peer: peer.GetAddress(), peerPort: peer.GetPort(), dns: peer.GetDnsName(),
	}); err != nil {
		return err
	}
	if r.other, err = w.party(peer.GetWorkload(), peer.GetExecId()); err != nil {
		return err
	}
	if r.rest, err = restOf(m, flowOthers); err != nil {
		return err
	}
	r.rest, err = appendRest(r.rest, local, localOthers, func(e proto.Message) proto.Message { return &spoorv1.Flow{Local: e.(*spoorv1.Endpoint)} })
	if err != nil {
		return err
	}
	r.rest, err = appendRest(r.rest, peer, peerOthers, func(e proto.Message) proto.Message { return &spoorv1.Flow{Peer: e.(*spoorv1.Endpoint)} })
	return err
}

func (w *writer) encodeListen(m *spoorv1.Listen, r *row) (err error) {
	r.n[0] = boolInt(m.GetClosed())
	local := m.GetLocal()
	if local == nil {
		r.rest, err = proto.Marshal(m)
		return err
	}
	if r.peer, err = w.peer(peerKey{transport: m.GetTransport(), netNS: m.GetNetNs(), local: local.GetAddress(), localPort: local.GetPort()}); err != nil {
		return err
	}
	if r.rest, err = restOf(m, listenOthers); err != nil {
		return err
	}
	r.rest, err = appendRest(r.rest, local, localOthers, func(e proto.Message) proto.Message { return &spoorv1.Listen{Local: e.(*spoorv1.Endpoint)} })
	return err
}

func (w *writer) encodeShare(node int64, m *spoorv1.Share, r *row) (err error) {
	r.n[0], r.n[4] = int64(m.GetKind()), fileFlags(m.GetFile())
	if m.GetFile() != nil {
		if r.file, err = w.file(node, m.GetFile()); err != nil {
			return err
		}
	}
	if r.other, err = w.party(m.GetOther(), m.GetOtherExecId()); err != nil {
		return err
	}
	r.rest, err = restOf(m, shareOthers)
	return err
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func fileFlags(f *spoorv1.File) int64 {
	return boolInt(f.GetPathTruncated())*flagTruncated | boolInt(f.GetUnlinked())*flagUnlinked
}

// decode puts the fact of a row into ev.
func (r *reader) decode(kind store.Kind, t int64, raw *row, ev *spoorv1.Event) error {
	n := raw.n
	switch kind {
	case store.KindProcessStart:
		m := &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_Cause(n[0])}
		ev.Fact = &spoorv1.Event_ProcessStart{ProcessStart: m}
		return mergeRest(raw.rest, m)
	case store.KindProcessExit:
		m := &spoorv1.ProcessExit{ExitCode: uint32(n[0]), Signal: uint32(n[1])}
		ev.Fact = &spoorv1.Event_ProcessExit{ProcessExit: m}
		return mergeRest(raw.rest, m)
	case store.KindFileWrite:
		m := &spoorv1.FileWrite{}
		ev.Fact = &spoorv1.Event_FileWrite{FileWrite: m}
		if raw.file != 0 {
			f, err := r.file(raw.file, n[4])
			if err != nil {
				return err
			}
			m.File, m.Changes, m.SizeBefore, m.SizeAfter, m.Data = f, uint32(n[0]), uint64(n[1]), uint64(n[2]), n[3] != 0
			m.First, m.Last = raw.interval(t)
		}
		return mergeRest(raw.rest, m)
	case store.KindFileChange:
		m := &spoorv1.FileChange{}
		ev.Fact = &spoorv1.Event_FileChange{FileChange: m}
		if raw.file != 0 {
			f, err := r.file(raw.file, n[4])
			if err != nil {
				return err
			}
			m.Operation, m.Merged, m.File = spoorv1.FileChange_Operation(n[0]), uint32(n[1]), f
		}
		if raw.other != 0 {
			target, err := r.file(raw.other, 0)
			if err != nil {
				return err
			}
			m.TargetPath = target.GetPath()
		}
		return mergeRest(raw.rest, m)
	case store.KindFlow:
		return r.decodeFlow(t, raw, ev)
	case store.KindListen:
		m := &spoorv1.Listen{}
		ev.Fact = &spoorv1.Event_Listen{Listen: m}
		if raw.peer != 0 {
			p, err := r.peer(raw.peer)
			if err != nil {
				return err
			}
			m.Transport, m.NetNs, m.Closed = p.transport, p.netNS, n[0] != 0
			m.Local = &spoorv1.Endpoint{Address: p.local, Port: p.localPort}
		}
		return mergeRest(raw.rest, m)
	case store.KindDNS:
		name, err := r.text(n[0])
		if err != nil {
			return err
		}
		m := &spoorv1.Dns{Name: name, TtlSeconds: uint32(n[1])}
		ev.Fact = &spoorv1.Event_Dns{Dns: m}
		return mergeRest(raw.rest, m)
	case store.KindShare:
		return r.decodeShare(raw, ev)
	case store.KindLoss:
		m := &spoorv1.Loss{Count: uint64(n[2])}
		ev.Fact = &spoorv1.Event_Loss{Loss: m}
		if err := r.texts(n, &m.Source, &m.Reason); err != nil {
			return err
		}
		return mergeRest(raw.rest, m)
	case store.KindCoverage:
		m := &spoorv1.Coverage{}
		ev.Fact = &spoorv1.Event_Coverage{Coverage: m}
		if err := r.texts(n, &m.Sensor, &m.Tier, &m.Reason); err != nil {
			return err
		}
		return mergeRest(raw.rest, m)
	}
	ev.ProtoReflect().SetUnknown(raw.rest)
	return nil
}

func (r *reader) decodeFlow(t int64, raw *row, ev *spoorv1.Event) error {
	m := &spoorv1.Flow{}
	ev.Fact = &spoorv1.Event_Flow{Flow: m}
	if raw.peer == 0 {
		return mergeRest(raw.rest, m)
	}
	p, err := r.peer(raw.peer)
	if err != nil {
		return err
	}
	n := raw.n
	m.Transport, m.Direction, m.NetNs = p.transport, p.direction, p.netNS
	m.Local = &spoorv1.Endpoint{Address: p.local, Port: p.localPort}
	m.Peer = &spoorv1.Endpoint{Address: p.peer, Port: p.peerPort, DnsName: p.dns}
	m.Opened, m.Closed, m.Refused, m.TimedOut = uint32(n[0]), uint32(n[1]), uint32(n[2]), uint32(n[3])
	m.BytesSent, m.BytesReceived = uint64(n[4]), uint64(n[5])
	m.First, m.Last = raw.interval(t)
	if raw.other != 0 {
		o, err := r.party(raw.other)
		if err != nil {
			return err
		}
		m.Peer.Workload, m.Peer.ExecId = o.workload, o.execID
	}
	return mergeRest(raw.rest, m)
}

func (r *reader) decodeShare(raw *row, ev *spoorv1.Event) (err error) {
	m := &spoorv1.Share{Kind: spoorv1.Share_Kind(raw.n[0])}
	ev.Fact = &spoorv1.Event_Share{Share: m}
	if raw.file != 0 {
		if m.File, err = r.file(raw.file, raw.n[4]); err != nil {
			return err
		}
	}
	if raw.other != 0 {
		o, err := r.party(raw.other)
		if err != nil {
			return err
		}
		m.Other, m.OtherExecId = o.workload, o.execID
	}
	return mergeRest(raw.rest, m)
}

func (r *reader) texts(n [6]int64, into ...*string) (err error) {
	for i, s := range into {
		if *s, err = r.text(n[i]); err != nil {
			return err
		}
	}
	return nil
}
