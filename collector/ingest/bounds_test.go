// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// full fills all fields of a message with something small.
func full(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case fd.ContainingOneof() != nil:
		case fd.IsMap():
			m.Mutable(fd).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case fd.IsList() && fd.Message() != nil:
			full(m.Mutable(fd).List().AppendMutable().Message())
		case fd.IsList() && fd.Kind() == protoreflect.StringKind:
			m.Mutable(fd).List().Append(protoreflect.ValueOfString("x"))
		case fd.IsList():
			m.Mutable(fd).List().Append(protoreflect.ValueOfUint32(1))
		case fd.Message() != nil:
			full(m.Mutable(fd).Message())
		case fd.Kind() == protoreflect.StringKind:
			m.Set(fd, protoreflect.ValueOfString("x"))
		case fd.Kind() == protoreflect.BytesKind:
			m.Set(fd, protoreflect.ValueOfBytes([]byte("x")))
		}
	}
}

// change is one thing that can be wrong with a message, and what it is called.
type change struct {
	what   string
	reason string
	do     func(protoreflect.Message)
}

// changes returns all of a message: each text longer, each list and map larger, and each time stranger than anybody has.
func changes(m protoreflect.Message, at string, within func(func(protoreflect.Message)) func(protoreflect.Message)) (all []change) {
	const tooLong, tooMany = 2 << 20, 70_000
	long := strings.Repeat("x", tooLong)
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		name := at + "." + string(fd.Name())
		add := func(what, reason string, do func(protoreflect.Message)) {
			all = append(all, change{name + " " + what, reason, within(do)})
		}
		switch {
		case fd.IsMap():
			add("has a long value", reasonSize, func(m protoreflect.Message) {
				m.Mutable(fd).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString(long))
			})
			add("has many", reasonSize, func(m protoreflect.Message) {
				for n := range tooMany {
					m.Mutable(fd).Map().Set(protoreflect.ValueOfString(fmt.Sprint(n)).MapKey(), protoreflect.ValueOfString(""))
				}
			})
		case fd.IsList():
			add("has many", reasonSize, func(m protoreflect.Message) {
				list := m.Mutable(fd).List()
				for first := list.Get(0); list.Len() < tooMany; {
					list.Append(first)
				}
			})
			if fd.Kind() == protoreflect.StringKind {
				add("has a long one", reasonSize, func(m protoreflect.Message) { m.Mutable(fd).List().Set(0, protoreflect.ValueOfString(long)) })
			}
			if fd.Message() != nil {
				inner := func(do func(protoreflect.Message)) func(protoreflect.Message) {
					return within(func(m protoreflect.Message) { do(m.Mutable(fd).List().Get(0).Message()) })
				}
				all = append(all, changes(m.Get(fd).List().Get(0).Message(), name, inner)...)
			}
		case fd.Message() != nil && fd.Message().FullName() == "google.protobuf.Timestamp":
			for _, seconds := range []int64{-1, 1 << 60} {
				add(fmt.Sprintf("is %d", seconds), reasonTime, func(m protoreflect.Message) {
					m.Set(fd, protoreflect.ValueOfMessage((&timestamppb.Timestamp{Seconds: seconds}).ProtoReflect()))
				})
			}
		case fd.Message() != nil:
			inner := func(do func(protoreflect.Message)) func(protoreflect.Message) {
				return within(func(m protoreflect.Message) { do(m.Mutable(fd).Message()) })
			}
			all = append(all, changes(m.Get(fd).Message(), name, inner)...)
		case fd.Kind() == protoreflect.StringKind:
			add("is long", reasonSize, func(m protoreflect.Message) { m.Set(fd, protoreflect.ValueOfString(long)) })
		case fd.Kind() == protoreflect.BytesKind:
			add("is long", reasonSize, func(m protoreflect.Message) { m.Set(fd, protoreflect.ValueOfBytes([]byte(long))) })
		}
		return true
	})
	return all
}

// Whatever an agent says has a bound, also in fields that nobody has thought of yet.
func TestEverythingHasABound(t *testing.T) {
	facts := (&spoorv1.Record{}).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range facts.Len() {
		fact := facts.Get(i)
		t.Run(string(fact.Name()), func(t *testing.T) {
			batch := &spoorv1.Batch{Sequence: 1, Sent: timestamppb.Now(), ProcessInstances: []uint32{0}}
			process, instance := &spoorv1.Process{}, &spoorv1.Instance{}
			full(process.ProtoReflect())
			full(instance.ProtoReflect())
			run := store.Run{Cluster: instance.GetWorkload().GetCluster(), Node: "n", Epoch: "e"}
			batch.Processes, batch.Instances = []*spoorv1.Process{process}, []*spoorv1.Instance{instance}
			record := &spoorv1.Record{Sequence: 1, TimeUnixNano: uint64(time.Now().UnixNano()), Process: 1, Instance: 1}
			full(record.ProtoReflect().Mutable(fact).Message())
			batch.Records = []*spoorv1.Record{record}
			if _, err := Expand(run, proto.CloneOf(batch), time.Now()); err != nil {
				t.Fatalf("it is refused as it is: %v", err)
			}
			for _, c := range changes(batch.ProtoReflect(), "batch", func(do func(protoreflect.Message)) func(protoreflect.Message) { return do }) {
				if i > 0 && !strings.HasPrefix(c.what, "batch.records.") {
					continue // seen with the first kind of event
				}
				changed := proto.CloneOf(batch)
				c.do(changed.ProtoReflect())
				_, err := Expand(run, changed, time.Now())
				if refused, ok := errors.AsType[*RefusedError](err); !ok {
					t.Errorf("it is taken although %s", c.what)
				} else if c.reason == reasonTime && refused.Reason != reasonTime {
					t.Errorf("%s: refused for %q", c.what, refused.Reason)
				}
			}
		})
	}
}
