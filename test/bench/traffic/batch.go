// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// batch is one that is being made.
type batch struct {
	fleet     *Fleet
	node      *Node
	out       *spoorv1.Batch
	processes map[*spoorv1.Process]uint32 // 1 + position
	instances map[int]uint32
}

// tell adds a record of a process of a service.
func (b *batch) tell(p *spoorv1.Process, service int, r *spoorv1.Record) {
	if b.instances[service] == 0 {
		b.out.Instances = append(b.out.Instances, b.node.Instances[service])
		b.instances[service] = uint32(len(b.out.GetInstances()))
	}
	if b.processes[p] == 0 {
		b.out.Processes = append(b.out.Processes, p)
		b.out.ProcessInstances = append(b.out.ProcessInstances, b.instances[service]-1)
		b.processes[p] = uint32(len(b.out.GetProcesses()))
	}
	b.node.sequence++
	r.Sequence, r.Process, r.Instance = b.node.sequence, b.processes[p], b.instances[service]
	r.TimeUnixNano = uint64(b.fleet.Now.UnixNano()) + uint64(len(b.out.GetRecords()))*1000
	b.out.Records = append(b.out.Records, r)
}

func (b *batch) data(service int) (path string, inode uint64) {
	number := b.fleet.r.IntN(20)
	return fmt.Sprintf("/var/lib/service/data/%02d.log", number), uint64(1_000_000 + service*100 + number)
}

// write is to one of a few files, or to a new one.
func (b *batch) write(daemon int) {
	f, service := b.fleet, daemon/2
	path, inode := b.data(service)
	if f.r.IntN(5) == 0 {
		path, inode = fmt.Sprintf("/tmp/upload/%016x.tmp", f.r.Uint64()), uint64(2_000_000+f.r.IntN(1_000_000))
	}
	b.tell(b.node.Daemons[daemon], service, &spoorv1.Record{Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{
		File: &spoorv1.File{
			Path: path, HostPath: "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs" + path, Dev: 2097165, Inode: inode, FsType: "overlay",
			StorageClass: spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER,
		},
		First: f.ago(time.Second), Last: f.ago(time.Millisecond), Changes: uint32(f.r.IntN(50)), SizeBefore: uint64(f.r.IntN(1 << 20)), SizeAfter: uint64(f.r.IntN(1 << 20)), Data: true,
	}}})
}

// call is to one of a few services, whose node tells the other half.
func (b *batch) call(node, daemon int) {
	f, service := b.fleet, daemon/2
	to := f.r.IntN(len(f.Nodes))
	c := call{client: b.node.Address, server: f.Nodes[to].Address, port: uint32(8000 + (7*service+f.r.IntN(5))%f.services)}
	for range 1 + f.r.IntN(3) {
		c.ports = append(c.ports, uint32(32768+f.r.IntN(28000)))
	}
	b.tell(b.node.Daemons[daemon], service, &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, NetNs: 4026531840,
		Local: &spoorv1.Endpoint{Address: c.client}, Peer: &spoorv1.Endpoint{Address: c.server, Port: c.port}, First: f.ago(time.Second), Last: f.ago(time.Millisecond),
		Opened: uint32(len(c.ports)), Closed: uint32(len(c.ports)), BytesSent: uint64(f.r.IntN(5000)), BytesReceived: uint64(f.r.IntN(100000)), ClientPorts: c.ports,
	}}})
	if to != node {
		f.calls[to] = append(f.calls[to], c)
	}
}

// command begins and ends.
func (b *batch) command(daemon int) {
	f, service := b.fleet, daemon/2
	c := f.process(b.node.Daemons[daemon].GetExecId(), "/usr/bin/curl", "curl", "-fsS", fmt.Sprintf("http://localhost:8080/healthz?probe=%d", f.r.IntN(1000)))
	b.tell(c, service, &spoorv1.Record{Fact: &spoorv1.Record_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}})
	b.tell(c, service, &spoorv1.Record{Fact: &spoorv1.Record_ProcessExit{ProcessExit: &spoorv1.ProcessExit{}}})
}

// touch changes attributes of a file.
func (b *batch) touch(daemon int) {
	service := daemon / 2
	path, inode := b.data(service)
	b.tell(b.node.Daemons[daemon], service, &spoorv1.Record{Fact: &spoorv1.Record_FileChange{FileChange: &spoorv1.FileChange{
		Operation: spoorv1.FileChange_OPERATION_ATTRIBUTES, File: &spoorv1.File{Path: path, Dev: 2097165, Inode: inode, FsType: "overlay"},
	}}})
}
