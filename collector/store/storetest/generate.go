// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// epoch is the time around which generated events happen.
var start = time.Date(2026, 3, 1, 11, 58, 30, 123456789, time.UTC)

// anyEvent fills every field of an event, sensibly or not, with every kind of fact. What a store returns must equal it.
// A field that is added to the messages is filled here without anybody remembering to.
func anyEvent(r *rand.Rand, run store.Run, id uint64) *spoorv1.Event {
	ev := &spoorv1.Event{}
	fields := ev.ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	if n := r.IntN(fields.Len() + 1); n < fields.Len() {
		fd := fields.Get(n)
		fill(r, ev.ProtoReflect().Mutable(fd).Message(), 0)
	} else {
		setUnknown(r, ev.ProtoReflect())
	}
	if r.IntN(5) > 0 {
		ev.Instance = &spoorv1.Instance{}
		fill(r, ev.Instance.ProtoReflect(), 0)
	}
	if r.IntN(5) > 0 {
		ev.Process = &spoorv1.Process{}
		fill(r, ev.Process.ProtoReflect(), 0)
	}
	ev.Id, ev.Sequence, ev.Epoch, ev.Node = id, id, run.Epoch, run.Node
	ev.Time = timestamppb.New(start.Add(time.Duration(id) * time.Millisecond))
	ev.Kind = store.KindOf(ev).String()
	return ev
}

func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	if ts, ok := m.Interface().(*timestamppb.Timestamp); ok {
		proto.Merge(ts, timestamppb.New(start.Add(time.Duration(r.Int64N(int64(1000*time.Hour))-int64(500*time.Hour)))))
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if r.IntN(4) == 0 {
			continue
		}
		switch {
		case fd.IsMap():
			entries := m.Mutable(fd).Map()
			for range r.IntN(4) {
				entries.Set(scalar(r, fd.MapKey()).MapKey(), scalar(r, fd.MapValue()))
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range r.IntN(4) {
				if fd.Message() == nil {
					list.Append(scalar(r, fd))
					continue
				}
				element := list.NewElement()
				fill(r, element.Message(), depth+1)
				list.Append(element)
			}
		case fd.Message() != nil:
			fill(r, m.Mutable(fd).Message(), depth+1)
		default:
			m.Set(fd, scalar(r, fd))
		}
	}
	// Workloads are compared by their fields alone: nothing unknown in them survives.
	if _, ok := m.Interface().(*spoorv1.Workload); !ok && r.IntN(8) == 0 {
		setUnknown(r, m)
	}
}

// setUnknown adds a field that only a newer version has: number 1000, a varint.
func setUnknown(r *rand.Rand, m protoreflect.Message) {
	m.SetUnknown([]byte{0xc0, 0x3e, byte(r.IntN(128))})
}

var awkward = []string{
	"", "/", "a", "/a/", "/a/b", "//", "/var/lib/x", "/var/lib/x/y.tmp", "nginx", "\x00", "a\x00b", "%", "_", "*", "[a]", "'", `"`, "--", "\n",
	"Zürich", "日本語", "\U0010FFFF", "<&>", " ", "🐾", "null", "0", "10.0.0.1", "::1",
}

func scalar(r *rand.Rand, fd protoreflect.FieldDescriptor) protoreflect.Value {
	// Small numbers, so that they repeat, and the ends of the range.
	number := uint64(r.IntN(5))
	switch r.IntN(6) {
	case 0:
		number = r.Uint64()
	case 1:
		number = ^uint64(0)
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(number%2 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(number % 12)))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(number)
	case protoreflect.StringKind:
		s := awkward[r.IntN(len(awkward))]
		if r.IntN(3) == 0 {
			s += awkward[r.IntN(len(awkward))]
		}
		return protoreflect.ValueOfString(s)
	case protoreflect.BytesKind:
		b := make([]byte, r.IntN(6))
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return protoreflect.ValueOfBytes(b)
	}
	panic(fmt.Sprintf("storetest: no value for a field of kind %v: say here how to make one", fd.Kind()))
}

// world generates events that hang together, as agents send them: few processes, files and addresses, used often.
type world struct {
	r         *rand.Rand
	runs      []store.Run
	instances [][]*spoorv1.Instance // by run
	processes [][]*spoorv1.Process
	owner     map[*spoorv1.Process]*spoorv1.Instance
	nextID    uint64
	sequences map[store.Run]uint64
	batches   map[store.Run]uint64
}

func newWorld(seed uint64) *world {
	w := &world{
		r:         rand.New(rand.NewPCG(seed, 1)),
		owner:     map[*spoorv1.Process]*spoorv1.Instance{},
		sequences: map[store.Run]uint64{},
		batches:   map[store.Run]uint64{},
	}
	for n := range 3 {
		node := fmt.Sprintf("node%d", n)
		run := store.Run{Cluster: "c1", Node: node, Epoch: fmt.Sprintf("epoch%d", n)}
		w.runs = append(w.runs, run)
		var instances []*spoorv1.Instance
		for i := range 4 {
			instances = append(instances, &spoorv1.Instance{
				Id:       fmt.Sprintf("i%d-%d", n, i),
				Workload: &spoorv1.Workload{Cluster: "c1", Namespace: []string{"shop", "infra"}[i%2], Kind: "Deployment", Name: fmt.Sprintf("app%d", i)},
				CgroupId: uint64(1000 + i), StartTime: timestamppb.New(start.Add(-time.Hour)),
			})
		}
		var processes []*spoorv1.Process
		for i := range 12 {
			p := &spoorv1.Process{
				ExecId: fmt.Sprintf("%c%d%014d", 'a'+n, i%10, i), Tgid: uint32(100 + i), Comm: "app", Exe: "/usr/bin/app",
				Args: []string{"app", fmt.Sprint(i)}, StartTime: timestamppb.New(start),
			}
			if i > 0 {
				p.ParentExecId = processes[(i-1)/2].GetExecId()
			}
			processes = append(processes, p)
			w.owner[p] = instances[i%len(instances)]
		}
		w.instances, w.processes = append(w.instances, instances), append(w.processes, processes)
	}
	return w
}

// batch returns the next batch of a run with n events.
func (w *world) batch(run, n int) store.Batch {
	key := w.runs[run]
	w.batches[key]++
	b := store.Batch{Run: key, Sequence: w.batches[key], Received: start.Add(time.Duration(w.nextID) * 100 * time.Millisecond)}
	for range n {
		b.Events = append(b.Events, w.event(run))
	}
	return b
}

func (w *world) event(run int) *spoorv1.Event {
	w.nextID++
	key := w.runs[run]
	w.sequences[key]++
	// Times are not quite in the order of ids.
	t := start.Add(time.Duration(w.nextID)*100*time.Millisecond + time.Duration(w.r.IntN(2000))*time.Millisecond)
	p := w.processes[run][w.r.IntN(len(w.processes[run]))]
	ev := &spoorv1.Event{
		Id: w.nextID, Sequence: w.sequences[key], Epoch: key.Epoch, Node: key.Node, Time: timestamppb.New(t),
		Process: p, Instance: w.owner[p],
	}
	if w.r.IntN(10) == 0 {
		ev.Process, ev.Instance = nil, nil
	}
	switch w.r.IntN(8) {
	case 0:
		ev.Fact = &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}
	case 1, 2:
		ev.Fact = &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: w.file(), Changes: 3, SizeAfter: 100, Data: true, Last: timestamppb.New(t)}}
	case 3:
		ev.Fact = &spoorv1.Event_FileChange{FileChange: &spoorv1.FileChange{
			Operation: spoorv1.FileChange_OPERATION_RENAME, File: w.file(), TargetPath: w.file().GetPath(),
		}}
	case 4, 5:
		ev.Fact = &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND,
			Local: &spoorv1.Endpoint{Address: w.address()}, Peer: &spoorv1.Endpoint{Address: w.address(), Port: 443},
			Opened: 1, BytesSent: 10, First: timestamppb.New(t), Last: timestamppb.New(t), ClientPorts: []uint32{uint32(30000 + w.r.IntN(1000))},
		}}
	case 6:
		ev.Fact = &spoorv1.Event_Listen{Listen: &spoorv1.Listen{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Local: &spoorv1.Endpoint{Address: w.address(), Port: 80},
		}}
	case 7:
		ev.Fact = &spoorv1.Event_Loss{Loss: &spoorv1.Loss{Source: "file", Reason: "map_full", Count: uint64(w.r.IntN(10))}}
	}
	ev.Kind = store.KindOf(ev).String()
	return ev
}

func (w *world) file() *spoorv1.File {
	dirs := []string{"/tmp/", "/var/lib/app/", "/var/lib/app/cache/", "/var/lib/apple/", "/", "/v*r/"}
	names := []string{"a", "ab", "b.tmp", "cache", "ünder", "x_y"}
	d, n := w.r.IntN(len(dirs)), w.r.IntN(len(names))
	return &spoorv1.File{Path: dirs[d] + names[n], Dev: 1, Inode: uint64(d*100 + n), FsType: "ext4"}
}

func (w *world) address() string { return fmt.Sprintf("10.0.0.%d", w.r.IntN(6)) }
