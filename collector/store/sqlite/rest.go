// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// others are the fields of a message that have no column of their own. They go into the rest column: what is rare, and
// what people added to the message since. Unknown fields, which only a newer version knows, go there too.
type others []protoreflect.FieldDescriptor

// allBut returns the fields of a message that are not named. A name that it does not have is a mistake in the table
// below.
func allBut(m proto.Message, columns ...protoreflect.Name) (o others) {
	all := m.ProtoReflect().Descriptor().Fields()
	for _, name := range columns {
		if all.ByName(name) == nil {
			panic(fmt.Sprintf("sqlite store: %T has no field %s", m, name))
		}
	}
	for i := range all.Len() {
		if !slices.Contains(columns, all.Get(i).Name()) {
			o = append(o, all.Get(i))
		}
	}
	return o
}

// What has no column, by naming what has one.
var (
	instanceOthers = allBut(&spoorv1.Instance{}, "id", "workload", "cgroup_id", "cgroup_path", "container_id", "pod_name", "pod_uid",
		"container_name", "start_time")
	processOthers = allBut(&spoorv1.Process{}, "exec_id", "parent_exec_id", "tgid", "parent_tgid", "comm", "exe", "args", "cwd", "uid", "gid",
		"start_time", "pid_ns", "mnt_ns", "net_ns", "cap_effective")
	fileOthers = allBut(&spoorv1.File{}, "path", "path_truncated", "dev", "inode", "generation", "fs_type", "storage_class", "host_path", "unlinked")

	processStartOthers = allBut(&spoorv1.ProcessStart{}, "cause")
	processExitOthers  = allBut(&spoorv1.ProcessExit{}, "exit_code", "signal")
	fileWriteOthers    = allBut(&spoorv1.FileWrite{}, "file", "first", "last", "changes", "size_before", "size_after", "data")
	fileChangeOthers   = allBut(&spoorv1.FileChange{}, "operation", "file", "target_path", "merged")
	flowOthers         = allBut(&spoorv1.Flow{}, "transport", "direction", "local", "peer", "net_ns", "first", "last", "opened", "closed",
		"refused", "timed_out", "bytes_sent", "bytes_received")
	listenOthers   = allBut(&spoorv1.Listen{}, "transport", "local", "net_ns", "closed")
	dnsOthers      = allBut(&spoorv1.Dns{}, "name", "ttl_seconds")
	shareOthers    = allBut(&spoorv1.Share{}, "kind", "file", "other", "other_exec_id")
	lossOthers     = allBut(&spoorv1.Loss{}, "source", "reason", "count")
	coverageOthers = allBut(&spoorv1.Coverage{}, "sensor", "tier", "reason")

	// Of an end: what a peer row keeps, and a party.
	localOthers = allBut(&spoorv1.Endpoint{}, "address", "port")
	peerOthers  = allBut(&spoorv1.Endpoint{}, "address", "port", "dns_name", "workload", "exec_id")
)

// only returns m with nothing but the given fields, whose values it shares, and the unknown ones; nil when it has
// none.
func only(m proto.Message, o others) proto.Message {
	from := m.ProtoReflect()
	var rest protoreflect.Message
	for _, fd := range o {
		if from.Has(fd) {
			if rest == nil {
				rest = from.New()
			}
			rest.Set(fd, from.Get(fd))
		}
	}
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
func restOf(m proto.Message, o others) ([]byte, error) {
	rest := only(m, o)
	if rest == nil {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(rest)
}

// appendRest adds the rest of a part of a message, wrapped as that part. Protobuf merges what is concatenated.
func appendRest(b []byte, part proto.Message, o others, wrap func(proto.Message) proto.Message) ([]byte, error) {
	rest := only(part, o)
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
