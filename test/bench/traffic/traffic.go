// SPDX-License-Identifier: Apache-2.0

// Package traffic makes up what the agents of some nodes tell of services that run there, for measurements: long-lived processes
// write the same few files and call the same few peers again and again, and a share of short-lived commands brings new processes,
// files and ports. Batches hold what an agent's would: only the processes and instances that their records name.
package traffic

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Services are how many services run on a node as a rule, each with two processes.
const Services = 30

// Cluster is where the nodes are.
const Cluster = "bench"

// Fleet makes the batches of some nodes. It is not safe for concurrent use.
type Fleet struct {
	// Now is when the next batch is sent; Next moves it forward by 30 µs for each event.
	Now   time.Time
	Nodes []*Node

	r         *rand.Rand
	processes int
	services  int
	calls     [][]call // those whose other half has yet to be told, by the node of the called
}

type call struct {
	client, server string
	port           uint32
	ports          []uint32
}

// Node is one node with its agent.
type Node struct {
	Name, Epoch, Address string
	// Services, and two processes for each of them.
	Instances []*spoorv1.Instance
	Daemons   []*spoorv1.Process

	sequence, batch uint64
}

// Hello returns what the node's agent says first.
func (n *Node) Hello() *spoorv1.Hello {
	return &spoorv1.Hello{Cluster: Cluster, Node: n.Name, Epoch: n.Epoch}
}

// New returns a fleet of so many nodes with so many services each, always the same one.
func New(nodes, services int, now time.Time) *Fleet {
	f := &Fleet{Now: now, services: services, r: rand.New(rand.NewPCG(1, 2)), calls: make([][]call, nodes)} //nolint:gosec // the same each time
	for n := range nodes {
		b := &Node{Name: fmt.Sprintf("node-%d", n), Epoch: fmt.Sprintf("epoch-%d", n), Address: fmt.Sprintf("10.%d.%d.1", n>>8, n&255)}
		for i := range services {
			b.Instances = append(b.Instances, &spoorv1.Instance{
				Id: fmt.Sprintf("%08x%08x", n, i), CgroupId: uint64(n*1000 + i),
				Workload:    &spoorv1.Workload{Cluster: Cluster, Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("service-%d", i)},
				CgroupPath:  fmt.Sprintf("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%032x.slice/cri-containerd-%064x.scope", i, i*7+n),
				ContainerId: fmt.Sprintf("%064x", i*7+n), PodName: fmt.Sprintf("service-%d-7d4b9c6f5-%05x", i, n), StartTime: timestamppb.New(f.Now),
			})
			for range 2 {
				b.Daemons = append(b.Daemons, f.process("", "/usr/local/bin/service", "service", "--listen", ":8080", "--config", "/etc/service/config.yaml"))
			}
		}
		f.Nodes = append(f.Nodes, b)
	}
	return f
}

// Label gives each instance so many labels, at most as many as are kept of any: those that Kubernetes recommends, and of their sort.
func (f *Fleet) Label(labels int) {
	kinds := []string{"name", "instance", "version", "component", "part-of", "managed-by"}
	for _, n := range f.Nodes {
		for i, in := range n.Instances {
			in.LabelsKnown, in.Labels = true, map[string]string{}
			for l := range min(labels, spoorv1.MaxLabels) {
				key, value := fmt.Sprintf("example.com/label-%d", l), fmt.Sprintf("value-%d-of-service-%d", l, i)
				if l < len(kinds) {
					key = "app.kubernetes.io/" + kinds[l]
				}
				in.Labels[key] = value
			}
		}
	}
}

func (f *Fleet) process(parent, exe string, args ...string) *spoorv1.Process {
	f.processes++
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	id := make([]byte, 16)
	for i := range id {
		id[i] = digits[f.r.IntN(32)]
	}
	return &spoorv1.Process{
		ExecId: string(id), ParentExecId: parent, Tgid: uint32(f.processes), ParentTgid: 1, Comm: filepath.Base(exe), Exe: exe, Args: args, Cwd: "/srv",
		Uid: 1000, Gid: 1000, StartTime: timestamppb.New(f.Now), PidNs: 4026531836, MntNs: 4026532000, NetNs: 4026531840, CapEffective: 0x1ffffffffff,
	}
}

// Next makes a batch of about so many events of a node, which tells them late: its clock is right.
func (f *Fleet) Next(node, events int) *spoorv1.Batch {
	n := f.Nodes[node]
	n.batch++
	f.Now = f.Now.Add(time.Duration(events) * 30 * time.Microsecond)
	b := &batch{fleet: f, node: n, out: &spoorv1.Batch{Sequence: n.batch, Sent: timestamppb.Now()}, processes: map[*spoorv1.Process]uint32{}, instances: map[int]uint32{}}
	for _, c := range f.calls[node] {
		service := int(c.port - 8000)
		b.tell(n.Daemons[2*service+f.r.IntN(2)], service, &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_INBOUND, NetNs: 4026531840,
			Local: &spoorv1.Endpoint{Address: c.server, Port: c.port}, Peer: &spoorv1.Endpoint{Address: c.client}, First: f.ago(time.Second), Last: f.ago(time.Millisecond),
			Opened: uint32(len(c.ports)), Closed: uint32(len(c.ports)), BytesSent: uint64(f.r.IntN(100000)), BytesReceived: uint64(f.r.IntN(5000)), ClientPorts: c.ports,
		}}})
	}
	f.calls[node] = nil
	for len(b.out.GetRecords()) < events {
		daemon := f.r.IntN(len(n.Daemons))
		switch pick := f.r.IntN(100); {
		case pick < 40:
			b.write(daemon)
		case pick < 65:
			b.call(node, daemon)
		case pick < 70:
			b.command(daemon)
		default:
			b.touch(daemon)
		}
	}
	return b.out
}

func (f *Fleet) ago(most time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(f.Now.Add(-time.Duration(f.r.Int64N(int64(most)))))
}
