// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"google.golang.org/protobuf/proto"
)

var run = store.Run{Cluster: "c", Node: "n", Epoch: "e"}

func TestExpand(t *testing.T) {
	b := batch(1, 1, 1)
	b.Instances = append(b.Instances, &spoorv1.Instance{Id: "other"})
	b.Records = []*spoorv1.Record{
		{Sequence: 1, TimeUnixNano: 1_700_000_000_123_456_789, Process: 1, Fact: &spoorv1.Record_ProcessExit{ProcessExit: &spoorv1.ProcessExit{Signal: 9}}},
		{Sequence: 2, TimeUnixNano: 1, Process: 1, Instance: 2, Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{}}},
		{Sequence: 5, TimeUnixNano: 1, Fact: &spoorv1.Record_Coverage{Coverage: &spoorv1.Coverage{}}},
	}
	newer := &spoorv1.Record{Sequence: 6, TimeUnixNano: 1}
	// Field 30, and 5, which is the kind of an event and not a record's to say.
	newer.ProtoReflect().SetUnknown([]byte{0x2a, 0x01, 'k', 0xf2, 0x01, 0x01, 'x'})
	b.Records = append(b.Records, newer)
	evs, err := ingest.Expand(run, b, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(evs) != 4 {
		t.Fatalf("%d events", len(evs))
	}
	first := evs[0]
	if first.GetKind() != "process_exit" || first.GetProcessExit().GetSignal() != 9 || first.GetSequence() != 1 || first.GetNode() != "n" ||
		first.GetEpoch() != "e" || first.GetTime().AsTime().UnixNano() != 1_700_000_000_123_456_789 {
		t.Errorf("first event %v", first)
	}
	if first.GetInstance().GetId() != "i" {
		t.Errorf("a process without an instance in its record is of %v, want its own", first.GetInstance())
	}
	if evs[1].GetInstance().GetId() != "other" || evs[1].GetProcess() != first.GetProcess() {
		t.Errorf("second event %v", evs[1])
	}
	if evs[2].GetInstance() != nil || evs[2].GetProcess() != nil {
		t.Errorf("an event of the node itself: %v", evs[2])
	}
	if evs[3].GetKind() != "unknown" || string(evs[3].ProtoReflect().GetUnknown()) != "\xf2\x01\x01x" {
		t.Errorf("a fact of a newer agent: %v", evs[3])
	}
}

// TestExpandWithoutInstances: an agent that knows none writes 0 for each process.
func TestExpandWithoutInstances(t *testing.T) {
	b := batch(1, 1, 1)
	b.Instances, b.Records[0].Instance = nil, 0
	evs, err := ingest.Expand(run, b, time.Now())
	if err != nil || evs[0].GetInstance() != nil || evs[0].GetProcess() == nil {
		t.Errorf("%v (%v)", evs, err)
	}
}

// withoutUnknown copies an event without what only a newer version knows: of workloads and ends that is not kept.
func withoutUnknown(t *testing.T, ev *spoorv1.Event) *spoorv1.Event {
	data, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	known := &spoorv1.Event{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, known); err != nil {
		t.Fatal(err)
	}
	return known
}

// FuzzExpand: no bytes of an agent bring the collector down, and what is taken can be stored.
func FuzzExpand(f *testing.F) {
	s, err := sqlite.Open(sqlite.Options{Dir: f.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	add := func(b *spoorv1.Batch) {
		data, err := proto.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	add(batch(1, 1, 3))
	add(&spoorv1.Batch{Sequence: 1})
	flows := batch(7, 3, 2)
	flows.Records[0].Fact = &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
		Direction: spoorv1.Direction_DIRECTION_INBOUND, Local: &spoorv1.Endpoint{Address: "10.0.0.1", Port: 80},
		Peer: &spoorv1.Endpoint{Address: "::1", Workload: &spoorv1.Workload{Name: "w"}}, ClientPorts: []uint32{1, 2},
	}}
	flows.Records[1].Fact = &spoorv1.Record_Share{Share: &spoorv1.Share{Other: &spoorv1.Workload{Name: "w"}, OtherExecId: "x"}}
	add(flows)
	var sequence, id uint64
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &spoorv1.Batch{}
		if proto.Unmarshal(data, b) != nil {
			return
		}
		records := len(b.GetRecords())
		evs, err := ingest.Expand(run, b, time.Now())
		if err != nil {
			var refused *ingest.RefusedError
			if !errors.As(err, &refused) || refused.Reason == "" || refused.Problem == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if len(evs) != records {
			t.Fatalf("%d events of %d records", len(evs), records)
		}
		sequence++
		for _, ev := range evs {
			id++
			ev.Id = id
		}
		w := &store.Write{Batches: []store.Batch{{Run: run, Sequence: sequence, Received: time.Now(), Events: evs}}}
		if err := s.Write(t.Context(), w); err != nil {
			t.Fatalf("taken, but cannot be stored: %v", err)
		}
		if len(evs) == 0 {
			return
		}
		back, err := s.EventsByID(t.Context(), []uint64{evs[0].GetId()})
		if err != nil || len(back) != 1 {
			t.Fatalf("%d of 1 events read back (%v)", len(back), err)
		}
		if stored, read := withoutUnknown(t, evs[0]), withoutUnknown(t, back[0]); !proto.Equal(stored, read) {
			t.Fatalf("stored %v, read %v", stored, read)
		}
	})
}
