// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldSet are fields of a message that have columns of their own, one bit a number. Everything else goes into the
// rest column: what is rare, what people added to the message since, and what only a newer version knows.
type fieldSet uint64

func (s fieldSet) has(n protoreflect.FieldNumber) bool { return n < 64 && s>>uint(n)&1 == 1 }

// fields makes a fieldSet; a name that the message does not have is a mistake in the tables below.
func fields(m proto.Message, names ...protoreflect.Name) (s fieldSet) {
	for _, name := range names {
		fd := m.ProtoReflect().Descriptor().Fields().ByName(name)
		if fd == nil || fd.Number() >= 64 {
			panic(fmt.Sprintf("sqlite store: %T has no field %s with a number below 64", m, name))
		}
		s |= 1 << uint(fd.Number())
	}
	return s
}

// Fields that have columns.
var (
	instanceColumns = fields(&spoorv1.Instance{}, "id", "workload", "cgroup_id", "cgroup_path", "container_id", "pod_name", "pod_uid",
		"container_name", "start_time")
	processColumns = fields(&spoorv1.Process{}, "exec_id", "parent_exec_id", "tgid", "parent_tgid", "comm", "exe", "args", "cwd", "uid", "gid",
		"start_time", "pid_ns", "mnt_ns", "net_ns", "cap_effective")
	fileColumns = fields(&spoorv1.File{}, "path", "path_truncated", "dev", "inode", "generation", "fs_type", "storage_class", "host_path", "unlinked")

	processStartColumns = fields(&spoorv1.ProcessStart{}, "cause")
	processExitColumns  = fields(&spoorv1.ProcessExit{}, "exit_code", "signal")
	fileWriteColumns    = fields(&spoorv1.FileWrite{}, "file", "first", "last", "changes", "size_before", "size_after", "data")
	fileChangeColumns   = fields(&spoorv1.FileChange{}, "operation", "file", "target_path", "merged")
	flowColumns         = fields(&spoorv1.Flow{}, "transport", "direction", "local", "peer", "net_ns", "first", "last", "opened", "closed",
		"refused", "timed_out", "bytes_sent", "bytes_received")
	listenColumns   = fields(&spoorv1.Listen{}, "transport", "local", "net_ns", "closed")
	dnsColumns      = fields(&spoorv1.Dns{}, "name", "ttl_seconds")
	shareColumns    = fields(&spoorv1.Share{}, "kind", "file", "other", "other_exec_id")
	lossColumns     = fields(&spoorv1.Loss{}, "source", "reason", "count")
	coverageColumns = fields(&spoorv1.Coverage{}, "sensor", "tier", "reason")

	// Of an end: what a peer row keeps, and a party.
	localColumns = fields(&spoorv1.Endpoint{}, "address", "port")
	peerColumns  = fields(&spoorv1.Endpoint{}, "address", "port", "dns_name", "workload", "exec_id")
)

// without returns the fields of m that are not among columns, sharing their values with m; nil when there are none.
func without(m proto.Message, columns fieldSet) proto.Message {
	from := m.ProtoReflect()
	var rest protoreflect.Message
	from.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !columns.has(fd.Number()) {
			if rest == nil {
				rest = from.New()
			}
			rest.Set(fd, v)
		}
		return true
	})
	if u := from.GetUnknown(); len(u) > 0 {
		if rest == nil {
			rest = from.New()
		}
		rest.SetUnknown(u)
	}
	if rest == nil {
		return nil
	}
	return rest.Interface()
}

// restOf is the rest column of m, nil when the columns say everything.
func restOf(m proto.Message, columns fieldSet) ([]byte, error) {
	rest := without(m, columns)
	if rest == nil {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(rest)
}

// appendRest adds the rest of a part of a message, wrapped as that part. Protobuf merges what is concatenated.
func appendRest(b []byte, part proto.Message, columns fieldSet, wrap func(proto.Message) proto.Message) ([]byte, error) {
	rest := without(part, columns)
	if rest == nil {
		return b, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, wrap(rest))
}

// mergeRest puts the rest over what the columns said.
func mergeRest(rest []byte, m proto.Message) error {
	if len(rest) == 0 {
		return nil
	}
	if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(rest, m); err != nil {
		return fmt.Errorf("rest of %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}
