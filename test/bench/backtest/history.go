// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// The made-up shop: each service has a replica on each node, calls the next few, keeps templates in a volume and working
// files in /tmp for a while.
const (
	nodes    = 5
	services = 24
	week     = 7 * 24 * time.Hour
	// perWrite is how many events become durable at once.
	perWrite = 5000
)

// begin is on a day that does not change, so that the answer does not either.
var begin = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// history makes events one by one, in the order of their time.
type history struct {
	r        *rand.Rand
	now      time.Time
	pace     time.Duration
	replicas [nodes][services]*replica
	runs     [nodes]store.Run
	sequence [nodes]uint64
	commands int
	// working are files in /tmp that have yet to go.
	working []working
}

type working struct {
	until time.Time
	ev    *spoorv1.Event
	node  int
}

type replica struct {
	node, service int
	instance      *spoorv1.Instance
	process       *spoorv1.Process
	address       string
}

func newHistory(events uint64) *history {
	h := &history{r: rand.New(rand.NewPCG(7, 7)), now: begin, pace: week / time.Duration(events)} //nolint:gosec // made up, and always the same
	for n := range nodes {
		h.runs[n] = store.Run{Cluster: "bench", Node: fmt.Sprintf("node-%d", n), Epoch: fmt.Sprintf("epoch-%d", n)}
		for s := range services {
			container := fmt.Sprintf("%064x", 1+n*services+s)
			h.replicas[n][s] = &replica{
				node: n, service: s, address: fmt.Sprintf("10.1.%d.%d", n, s+1),
				instance: &spoorv1.Instance{
					Id: fmt.Sprintf("%016x", 1+n*services+s), ContainerId: container, PodName: fmt.Sprintf("service-%d-%05x", s, n),
					CgroupPath: "/kubepods.slice/cri-containerd-" + container + ".scope", CgroupId: uint64(1 + n*services + s), StartTime: timestamppb.New(begin),
					Workload: &spoorv1.Workload{Cluster: "bench", Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("service-%d", s)},
					Labels:   map[string]string{"app": fmt.Sprintf("service-%d", s), "app.kubernetes.io/part-of": "shop"}, LabelsKnown: true,
				},
				process: process(fmt.Sprintf("d%015d", n*services+s), "", "/srv/service", "service", "--listen", ":8080"),
			}
		}
	}
	return h
}

func process(id, parent, exe string, args ...string) *spoorv1.Process {
	return &spoorv1.Process{
		ExecId: id, ParentExecId: parent, Tgid: 4242, ParentTgid: 1, Comm: filepath.Base(exe), Exe: exe, Args: args, Cwd: "/", Uid: 1000, Gid: 1000,
		StartTime: timestamppb.New(begin), PidNs: 4026531836, MntNs: 4026532000, NetNs: 4026531840,
	}
}

// event is what a replica does next; its fact is still to come.
func (h *history) event(r *replica, p *spoorv1.Process, kind string) *spoorv1.Event {
	h.sequence[r.node]++
	h.now = h.now.Add(h.pace)
	run := h.runs[r.node]
	return &spoorv1.Event{Sequence: h.sequence[r.node], Epoch: run.Epoch, Node: run.Node, Kind: kind, Time: timestamppb.New(h.now), Instance: r.instance, Process: p}
}

// next returns the next few events.
func (h *history) next() []*spoorv1.Event {
	if len(h.working) > 0 && h.now.After(h.working[0].until) {
		w := h.working[0]
		h.working = h.working[1:]
		r := h.replicas[w.node][0]
		ev := h.event(r, w.ev.GetProcess(), "file_change")
		ev.Instance = w.ev.GetInstance()
		ev.Fact = &spoorv1.Event_FileChange{FileChange: &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_UNLINK, File: w.ev.GetFileWrite().GetFile()}}
		return []*spoorv1.Event{ev}
	}
	r := h.replicas[h.r.IntN(nodes)][h.r.IntN(services)]
	switch pick := h.r.IntN(1000); {
	case pick < 250:
		return h.template(r)
	case pick < 400:
		return h.upload(r)
	case pick < 780:
		return h.call(r)
	case pick < 781 && h.r.IntN(100) == 0:
		return h.breach(r)
	default:
		return h.command(r)
	}
}

// template is written again and again, into a volume.
func (h *history) template(r *replica) []*spoorv1.Event {
	n := h.r.IntN(20)
	ev := h.event(r, r.process, "file_write")
	ev.Fact = h.write(fmt.Sprintf("/var/cache/tpl/%02d.html", n), uint64(1_000_000+r.service*100+n)) //nolint:gosec // small
	return []*spoorv1.Event{ev}
}

// upload is a working file that lives for some minutes.
func (h *history) upload(r *replica) []*spoorv1.Event {
	ev := h.event(r, r.process, "file_write")
	ev.Fact = h.write(fmt.Sprintf("/tmp/up/%08x.part", h.r.Uint32()), 2_000_000+uint64(h.r.Uint32()))
	h.working = append(h.working, working{h.now.Add(2 * time.Minute), ev, r.node})
	return []*spoorv1.Event{ev}
}

func (h *history) write(path string, inode uint64) *spoorv1.Event_FileWrite {
	return &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{
		File:  &spoorv1.File{Path: path, HostPath: "/var/lib/containerd/fs" + path, Dev: 2097165, Inode: inode, FsType: "overlay", StorageClass: spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER},
		First: timestamppb.New(h.now.Add(-time.Second)), Last: timestamppb.New(h.now), Changes: 3, SizeAfter: uint64(h.r.IntN(1 << 16)), Data: true, //nolint:gosec // positive
	}}
}

// call is seen at both ends.
func (h *history) call(r *replica) []*spoorv1.Event {
	to := h.replicas[h.r.IntN(nodes)][(r.service+1+h.r.IntN(3))%services]
	port := 32768 + uint32(h.r.IntN(28000)) //nolint:gosec // positive
	out, in := h.event(r, r.process, "flow"), h.event(to, to.process, "flow")
	out.Fact = h.flow(spoorv1.Direction_DIRECTION_OUTBOUND, &spoorv1.Endpoint{Address: r.address}, &spoorv1.Endpoint{Address: to.address, Port: 8080, Workload: to.instance.GetWorkload()}, port)
	in.Fact = h.flow(spoorv1.Direction_DIRECTION_INBOUND, &spoorv1.Endpoint{Address: to.address, Port: 8080}, &spoorv1.Endpoint{Address: r.address, Workload: r.instance.GetWorkload()}, port)
	return []*spoorv1.Event{out, in}
}

func (h *history) flow(d spoorv1.Direction, local, peer *spoorv1.Endpoint, port uint32) *spoorv1.Event_Flow {
	return &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: d, NetNs: 4026531840, Local: local, Peer: peer, First: timestamppb.New(h.now.Add(-time.Second)), Last: timestamppb.New(h.now),
		Opened: 1, Closed: 1, BytesSent: uint64(h.r.IntN(5000)), BytesReceived: uint64(h.r.IntN(50000)), ClientPorts: []uint32{port}, //nolint:gosec // positive
	}}
}

// breach is one of two things that no contract has: a call to the Internet, or a file that stays.
func (h *history) breach(r *replica) []*spoorv1.Event {
	if h.r.IntN(2) == 0 {
		ev := h.event(r, r.process, "flow")
		ev.Fact = h.flow(spoorv1.Direction_DIRECTION_OUTBOUND, &spoorv1.Endpoint{Address: r.address}, &spoorv1.Endpoint{Address: fmt.Sprintf("198.51.100.%d", h.r.IntN(20)), Port: 443}, 40000)
		return []*spoorv1.Event{ev}
	}
	ev := h.event(r, r.process, "file_write")
	n := h.r.IntN(50)
	ev.Fact = h.write(fmt.Sprintf("/srv/kept-%02d.dat", n), uint64(9_000_000+r.service*100+n)) //nolint:gosec // small
	return []*spoorv1.Event{ev}
}

// command is a short-lived process.
func (h *history) command(r *replica) []*spoorv1.Event {
	h.commands++
	p := process(fmt.Sprintf("c%015d", h.commands), r.process.GetExecId(), "/usr/bin/curl", "curl", "-fsS", fmt.Sprintf("http://localhost:8080/healthz?n=%d", h.commands%1000))
	start, exit := h.event(r, p, "process_start"), h.event(r, p, "process_exit")
	start.Fact = &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}
	exit.Fact = &spoorv1.Event_ProcessExit{ProcessExit: &spoorv1.ProcessExit{}}
	return []*spoorv1.Event{start, exit}
}

// makeHistory fills a new store below dir, which is there only when it is whole.
func makeHistory(ctx context.Context, dir string, events uint64) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	unfinished := dir + ".part"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	s, err := sqlite.Open(sqlite.Options{Dir: unfinished, CacheBytes: 256 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	h, id := newHistory(events), uint64(0)
	var batches [nodes]uint64
	for id < events {
		var of [nodes][]*spoorv1.Event
		for n := 0; n < perWrite; {
			for _, ev := range h.next() {
				id++
				ev.Id = id
				node := int(ev.GetNode()[len(ev.GetNode())-1] - '0')
				of[node] = append(of[node], ev)
				n++
			}
		}
		w := &store.Write{}
		for node, evs := range of {
			batches[node]++
			w.Batches = append(w.Batches, store.Batch{Run: h.runs[node], Sequence: batches[node], Received: h.now, Events: evs})
		}
		if err := s.Write(ctx, w); err != nil {
			return fmt.Errorf("make the store: %w: %w", err, s.Close())
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	return os.Rename(unfinished, dir)
}
