// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
)

var from = store.Run{Cluster: "c", Node: "n", Epoch: "e"}

// example is a batch with everything that tables can say: processes of two instances, of none, and records without either.
func example(instances bool) *spoorv1.Batch {
	write := func(sequence uint64, process, instance uint32) *spoorv1.Record {
		return &spoorv1.Record{
			Sequence: sequence, TimeUnixNano: 1e18, Process: process, Instance: instance,
			Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: "/x"}}},
		}
	}
	b := &spoorv1.Batch{Sequence: 1, Processes: []*spoorv1.Process{{ExecId: "p"}, {ExecId: "q"}}, ProcessInstances: []uint32{0, 0}}
	if !instances {
		b.Records = []*spoorv1.Record{write(1, 1, 0), write(2, 2, 0), write(5, 0, 0)}
		return b
	}
	b.Instances = []*spoorv1.Instance{{Id: "i"}, {Id: "j", Workload: &spoorv1.Workload{Cluster: "c", Name: "w"}}}
	b.ProcessInstances = []uint32{1, 0}
	b.Records = []*spoorv1.Record{write(1, 1, 2), write(3, 2, 1), write(4, 0, 2), write(5, 0, 0), write(6, 1, 1)}
	return b
}

// again packs events, and returns what the other collector makes of that.
func again(t *testing.T, events []*spoorv1.Event) []*spoorv1.Event {
	t.Helper()
	var all []*spoorv1.Event
	number := uint64(0)
	for _, b := range pack(events) {
		if b.GetSequence() <= number || len(b.GetRecords()) > maxRecords || b.GetRecords()[len(b.GetRecords())-1].GetSequence() != b.GetSequence() {
			t.Fatalf("a batch of %d records up to %d has the number %d, after %d", len(b.GetRecords()), b.GetRecords()[len(b.GetRecords())-1].GetSequence(), b.GetSequence(), number)
		}
		number = b.GetSequence()
		// As it comes over the wire.
		wire, err := proto.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		received := &spoorv1.Batch{}
		if err := proto.Unmarshal(wire, received); err != nil {
			t.Fatal(err)
		}
		evs, err := ingest.Expand(from, received, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, evs...)
	}
	return all
}

func sameEvents(t *testing.T, want, got []*spoorv1.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events became %d", len(want), len(got))
	}
	for i := range want {
		if !proto.Equal(want[i], got[i]) {
			t.Fatalf("%v became %v", want[i], got[i])
		}
	}
}

func expand(t *testing.T, b *spoorv1.Batch) []*spoorv1.Event {
	t.Helper()
	events, err := ingest.Expand(from, b, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestPack(t *testing.T) {
	mixed := expand(t, example(true))
	for _, ev := range expand(t, example(false)) { // a process without an instance, behind others
		ev.Sequence += 10
		mixed = append(mixed, ev)
	}
	last := expand(t, example(true))
	for _, ev := range last {
		ev.Sequence += 20
	}
	mixed = append(mixed, last...)
	sameEvents(t, mixed, again(t, mixed))
	if n := len(pack(mixed)); n != 3 {
		t.Errorf("they became %d batches, want 3", n)
	}
}

func TestPackIsBounded(t *testing.T) {
	var events []*spoorv1.Event
	for i := range 2*maxRecords + 1 {
		ev := expand(t, example(false))[0]
		ev.Sequence = uint64(i + 1)
		events = append(events, ev)
	}
	if n := len(pack(events)); n != 3 {
		t.Errorf("%d events became %d batches, want 3", len(events), n)
	}
	sameEvents(t, events, again(t, events))
	for _, ev := range events[:8] {
		ev.Process = proto.CloneOf(ev.GetProcess())
		ev.Process.Args = []string{string(make([]byte, maxBytes/2))}
	}
	if n := len(pack(events[:8])); n != 4 {
		t.Errorf("8 events of processes with much to say became %d batches, want 4", n)
	}
}

// FuzzPack: whatever was taken from an agent is taken again by the next collector, as the same.
func FuzzPack(f *testing.F) {
	for _, b := range []*spoorv1.Batch{example(true), example(false), {Sequence: 1}} {
		data, err := proto.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &spoorv1.Batch{}
		if proto.Unmarshal(data, b) != nil {
			return
		}
		events, err := ingest.Expand(from, b, time.Now())
		if err != nil {
			return
		}
		want := make([]*spoorv1.Event, len(events))
		for i, ev := range events {
			want[i] = proto.CloneOf(ev)
		}
		sameEvents(t, want, again(t, events))
	})
}
