// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/collector/identity"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"github.com/spoor/spoor/contract"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fleet makes the batches of some nodes that run services: mostly long-lived processes that write the same files and
// call the same peers again and again, and a share of short-lived commands that bring new processes, files and ports.
type fleet struct {
	r         *rand.Rand
	now       time.Time
	nodes     []*benchNode
	processes int
	// calls whose other half has yet to be told, by the node of the called.
	calls [][]call
}

type call struct {
	client, server string
	port           uint32
	ports          []uint32
}

type benchNode struct {
	run       store.Run
	address   string
	sequence  uint64
	batch     uint64
	instances []*spoorv1.Instance
	daemons   []*spoorv1.Process
}

func newFleet(nodes int) *fleet {
	f := &fleet{r: rand.New(rand.NewPCG(1, 2)), now: time.Now().Add(-time.Hour), calls: make([][]call, nodes)}
	for n := range nodes {
		b := &benchNode{run: store.Run{Cluster: "bench", Node: fmt.Sprintf("node-%d", n), Epoch: fmt.Sprintf("epoch-%d", n)}, address: fmt.Sprintf("10.0.%d.1", n)}
		for i := range 30 {
			b.instances = append(b.instances, &spoorv1.Instance{
				Id: fmt.Sprintf("%08x%08x", n, i), CgroupId: uint64(n*1000 + i),
				Workload:    &spoorv1.Workload{Cluster: "bench", Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("service-%d", i)},
				CgroupPath:  fmt.Sprintf("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%032x.slice/cri-containerd-%064x.scope", i, i*7+n),
				ContainerId: fmt.Sprintf("%064x", i*7+n), PodName: fmt.Sprintf("service-%d-7d4b9c6f5-%05x", i, n), StartTime: timestamppb.New(f.now),
			})
			for range 2 {
				b.daemons = append(b.daemons, f.process("", "/usr/local/bin/service", "service", "--listen", ":8080", "--config", "/etc/service/config.yaml"))
			}
		}
		f.nodes = append(f.nodes, b)
	}
	return f
}

func (f *fleet) process(parent, exe string, args ...string) *spoorv1.Process {
	f.processes++
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	id := make([]byte, 16)
	for i := range id {
		id[i] = digits[f.r.IntN(32)]
	}
	return &spoorv1.Process{
		ExecId: string(id), ParentExecId: parent, Tgid: uint32(f.processes), ParentTgid: 1, Comm: filepath.Base(exe), Exe: exe, Args: args, Cwd: "/srv",
		Uid: 1000, Gid: 1000, StartTime: timestamppb.New(f.now), PidNs: 4026531836, MntNs: 4026532000, NetNs: 4026531840, CapEffective: 0x1ffffffffff,
	}
}

// next makes a batch of about n events of a node.
func (f *fleet) next(node, n int) (store.Run, *spoorv1.Batch) {
	b := f.nodes[node]
	b.batch++
	f.now = f.now.Add(time.Duration(n) * 30 * time.Microsecond)
	out := &spoorv1.Batch{Sequence: b.batch, Sent: timestamppb.New(f.now), Instances: b.instances}
	at := map[*spoorv1.Process]uint32{}
	tell := func(p *spoorv1.Process, instance int, r *spoorv1.Record) {
		if at[p] == 0 {
			out.Processes = append(out.Processes, p)
			out.ProcessInstances = append(out.ProcessInstances, uint32(instance))
			at[p] = uint32(len(out.Processes))
		}
		b.sequence++
		r.Sequence, r.TimeUnixNano, r.Process, r.Instance = b.sequence, uint64(f.now.UnixNano())+uint64(len(out.Records))*1000, at[p], uint32(instance+1)
		out.Records = append(out.Records, r)
	}
	ago := func(d time.Duration) *timestamppb.Timestamp {
		return timestamppb.New(f.now.Add(-time.Duration(f.r.Int64N(int64(d)))))
	}
	for _, c := range f.calls[node] {
		service := int(c.port - 8000)
		tell(b.daemons[2*service+f.r.IntN(2)], service, &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_INBOUND, NetNs: 4026531840,
			Local: &spoorv1.Endpoint{Address: c.server, Port: c.port}, Peer: &spoorv1.Endpoint{Address: c.client}, First: ago(time.Second), Last: ago(time.Millisecond),
			Opened: uint32(len(c.ports)), Closed: uint32(len(c.ports)), BytesSent: uint64(f.r.IntN(100000)), BytesReceived: uint64(f.r.IntN(5000)), ClientPorts: c.ports,
		}}})
	}
	f.calls[node] = nil
	for len(out.Records) < n {
		d := f.r.IntN(len(b.daemons))
		p, instance := b.daemons[d], d/2
		switch pick := f.r.IntN(100); {
		case pick < 40: // a file, one of few or a new one
			number := f.r.IntN(20)
			path, inode := fmt.Sprintf("/var/lib/service/data/%02d.log", number), uint64(1_000_000+instance*100+number)
			if f.r.IntN(5) == 0 {
				path, inode = fmt.Sprintf("/tmp/upload/%016x.tmp", f.r.Uint64()), uint64(2_000_000+f.r.IntN(1_000_000))
			}
			tell(p, instance, &spoorv1.Record{Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{
				File:  &spoorv1.File{Path: path, HostPath: "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs" + path, Dev: 2097165, Inode: inode, FsType: "overlay", StorageClass: spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER},
				First: ago(time.Second), Last: ago(time.Millisecond), Changes: uint32(f.r.IntN(50)), SizeBefore: uint64(f.r.IntN(1 << 20)), SizeAfter: uint64(f.r.IntN(1 << 20)), Data: true,
			}}})
		case pick < 65: // a call to one of a few services, whose other half the called node tells
			to := f.r.IntN(len(f.nodes))
			c := call{client: b.address, server: f.nodes[to].address, port: uint32(8000 + (7*instance+f.r.IntN(5))%30)}
			for range 1 + f.r.IntN(3) {
				c.ports = append(c.ports, uint32(32768+f.r.IntN(28000)))
			}
			tell(p, instance, &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
				Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, NetNs: 4026531840,
				Local: &spoorv1.Endpoint{Address: c.client}, Peer: &spoorv1.Endpoint{Address: c.server, Port: c.port}, First: ago(time.Second), Last: ago(time.Millisecond),
				Opened: uint32(len(c.ports)), Closed: uint32(len(c.ports)), BytesSent: uint64(f.r.IntN(5000)), BytesReceived: uint64(f.r.IntN(100000)), ClientPorts: c.ports,
			}}})
			if to != node {
				f.calls[to] = append(f.calls[to], c)
			}
		case pick < 70: // a command
			c := f.process(p.GetExecId(), "/usr/bin/curl", "curl", "-fsS", fmt.Sprintf("http://localhost:8080/healthz?probe=%d", f.r.IntN(1000)))
			tell(c, instance, &spoorv1.Record{Fact: &spoorv1.Record_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}})
			tell(c, instance, &spoorv1.Record{Fact: &spoorv1.Record_ProcessExit{ProcessExit: &spoorv1.ProcessExit{}}})
		default:
			number := f.r.IntN(20)
			tell(p, instance, &spoorv1.Record{Fact: &spoorv1.Record_FileChange{FileChange: &spoorv1.FileChange{
				Operation: spoorv1.FileChange_OPERATION_ATTRIBUTES,
				File:      &spoorv1.File{Path: fmt.Sprintf("/var/lib/service/data/%02d.log", number), Dev: 2097165, Inode: uint64(1_000_000 + instance*100 + number), FsType: "overlay"},
			}}})
		}
	}
	return b.run, out
}

// BenchmarkIngest commits batches of 500 events of 10 nodes as the service does behind the wire: expanded, named,
// judged (without contracts) and durable. It reports what one event takes; the machine should have nothing else to do.
func BenchmarkIngest(b *testing.B) {
	dir := b.TempDir()
	log := slog.New(slog.DiscardHandler)
	reg := prometheus.NewRegistry()
	s, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	resolver, err := identity.New(identity.Options{Registerer: reg})
	if err != nil {
		b.Fatal(err)
	}
	findings, err := finding.New(finding.Options{
		Store: s, NewJudge: func() finding.Judge { return contract.NewJudge(nil) }, Logger: log, Registerer: reg,
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) { return nil, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	c, err := ingest.NewCommitter(ingest.CommitterOptions{Store: s, Resolver: resolver, Findings: findings, Logger: log, Registerer: reg})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	const nodes, perBatch = 10, 500
	f := newFleet(nodes)
	events := 0
	var cpu time.Duration
	for b.Loop() {
		// Each agent has a batch under way, as when all are busy.
		b.StopTimer()
		var batches []*store.Batch
		var runs []store.Run
		var wire []*spoorv1.Batch
		for n := range nodes {
			run, w := f.next(n, perBatch)
			runs, wire = append(runs, run), append(wire, w)
			events += len(w.GetRecords())
		}
		before := used(b)
		b.StartTimer()
		for i, w := range wire {
			evs, err := ingest.Expand(runs[i], w, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			batches = append(batches, &store.Batch{Run: runs[i], Sequence: w.GetSequence(), Received: time.Now(), Events: evs})
		}
		if err := c.CommitForTest(batches...); err != nil {
			b.Fatal(err)
		}
		cpu += used(b) - before
	}
	elapsed := b.Elapsed()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil { // copies the log into the file
		b.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, sqlite.FileName))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(events), "events")
	b.ReportMetric(float64(events)/elapsed.Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(events)/1000, "µs-cpu/event")
	b.ReportMetric(float64(info.Size())/float64(events), "bytes/event")
}

// BenchmarkWire is BenchmarkIngest with everything: ten agents send over loopback what they have encoded, and wait for
// the acknowledgements. The agents' work is in the figures too.
func BenchmarkWire(b *testing.B) {
	c := newCentre(b, nil)
	const nodes, perBatch, rounds = 10, 500, 4
	f := newFleet(nodes)
	var agents [nodes]*agent
	for n := range agents {
		agents[n] = c.dial()
		run := f.nodes[n].run
		agents[n].greet(&spoorv1.Hello{Cluster: run.Cluster, Node: run.Node, Epoch: run.Epoch})
	}
	events := 0
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		var wire [nodes][]*spoorv1.Batch
		for range rounds {
			for n := range nodes {
				_, w := f.next(n, perBatch)
				wire[n] = append(wire[n], w)
				events += len(w.GetRecords())
			}
		}
		before := used(b)
		b.StartTimer()
		var wg sync.WaitGroup
		for n, a := range agents {
			wg.Go(func() {
				for _, w := range wire[n] {
					if err := a.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: w}}); err != nil {
						b.Error(err)
						return
					}
				}
				last := wire[n][rounds-1].GetSequence()
				for acknowledged := uint64(0); acknowledged < last; {
					m, err := a.Receive()
					if err != nil {
						b.Error(err)
						return
					}
					acknowledged = m.GetAcknowledge().GetSequence()
				}
			})
		}
		wg.Wait()
		cpu += used(b) - before
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(events), "events")
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(events)/1000, "µs-cpu/event")
}

// used is the time that this process has spent on processors.
func used(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
