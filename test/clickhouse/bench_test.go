// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/clickhouse"
)

// fleet makes events of ten nodes over a day: few workloads, some thousand processes and files, connections between them.
type fleet struct {
	r         *rand.Rand
	from      time.Time
	runs      []store.Run
	instances [][]*spoorv1.Instance
	processes [][]*spoorv1.Process
	batches   []uint64
	told      []uint64
}

func newFleet(from time.Time) *fleet {
	f := &fleet{r: rand.New(rand.NewPCG(1, 2)), from: from}
	for n := range 10 {
		f.runs = append(f.runs, store.Run{Cluster: "prod", Node: fmt.Sprint("node", n), Epoch: fmt.Sprint("epoch", n)})
		var instances []*spoorv1.Instance
		var processes []*spoorv1.Process
		for i := range 40 {
			instances = append(instances, &spoorv1.Instance{
				Id: fmt.Sprintf("instance-%d-%d", n, i), CgroupId: uint64(1000 + i), CgroupPath: fmt.Sprintf("/kubepods/burstable/pod%d-%d", n, i),
				PodName: fmt.Sprintf("app%d-%x", i, n*7919), ContainerName: "main",
				Workload: &spoorv1.Workload{Cluster: "prod", Namespace: fmt.Sprint("team", i%5), Kind: "Deployment", Name: fmt.Sprint("app", i)},
			})
		}
		for i := range 800 {
			p := &spoorv1.Process{
				ExecId: fmt.Sprintf("%016x", f.r.Uint64()), Tgid: uint32(1000 + i), Comm: fmt.Sprint("worker", i%30), Exe: fmt.Sprintf("/usr/bin/worker%d", i%30),
				Args: []string{"worker", "--id", strconv.Itoa(i)}, Uid: 1000, StartTime: timestamppb.New(from),
			}
			if i >= 40 {
				p.ParentExecId = processes[(i-40)/3].GetExecId()
			}
			processes = append(processes, p)
		}
		f.instances, f.processes = append(f.instances, instances), append(f.processes, processes)
	}
	f.batches, f.told = make([]uint64, len(f.runs)), make([]uint64, len(f.runs))
	return f
}

func (f *fleet) batch(run int, first uint64, at time.Time, n int) store.Batch {
	f.batches[run]++
	b := store.Batch{Run: f.runs[run], Sequence: f.batches[run], Received: at}
	for i := range n {
		f.told[run]++
		k := f.r.IntN(len(f.processes[run]))
		ev := &spoorv1.Event{
			Id: first + uint64(i), Sequence: f.told[run], Epoch: f.runs[run].Epoch, Node: f.runs[run].Node,
			Time: timestamppb.New(at.Add(time.Duration(f.r.IntN(2000)) * time.Millisecond)), Process: f.processes[run][k], Instance: f.instances[run][k%40],
		}
		switch c := f.r.IntN(10); {
		case c < 4:
			ev.Fact = &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{Changes: uint32(1 + f.r.IntN(9)), SizeAfter: uint64(f.r.IntN(100_000)), Data: true, First: ev.Time, Last: ev.Time, File: &spoorv1.File{
				Path: fmt.Sprintf("/var/lib/app%d/cache/%d/object-%d", k%40, f.r.IntN(50), f.r.IntN(400)), FsType: "ext4", Dev: 1, Inode: f.r.Uint64N(1 << 20),
			}}}
		case c < 8:
			ev.Fact = &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
				Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, Opened: 1, BytesSent: uint64(f.r.IntN(1 << 20)), First: ev.Time, Last: ev.Time,
				Local: &spoorv1.Endpoint{Address: fmt.Sprintf("10.0.%d.%d", run, k%40)}, ClientPorts: []uint32{uint32(30000 + f.r.IntN(30000))},
				Peer: &spoorv1.Endpoint{Address: fmt.Sprintf("10.0.%d.%d", f.r.IntN(10), f.r.IntN(40)), Port: 8080, Workload: &spoorv1.Workload{
					Cluster: "prod", Namespace: fmt.Sprint("team", f.r.IntN(5)), Kind: "Deployment", Name: fmt.Sprint("app", f.r.IntN(40)),
				}},
			}}
		case c < 9:
			ev.Fact = &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}
		default:
			ev.Fact = &spoorv1.Event_ProcessExit{ProcessExit: &spoorv1.ProcessExit{}}
		}
		ev.Kind = store.KindOf(ev).String()
		b.Events = append(b.Events, ev)
	}
	return b
}

// BenchmarkQueries fills a store with SPOOR_EVENTS events (1,000,000) of a day, and asks what people ask, from a store with nothing in its memory but
// what the questions before brought there.
func BenchmarkQueries(b *testing.B) {
	events, err := strconv.Atoi(os.Getenv("SPOOR_EVENTS"))
	if err != nil {
		events = 1_000_000
	}
	s := open(b, database(b, b.TempDir()))
	defer func() { _ = s.Close() }()
	from := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	f := newFleet(from)
	begun := time.Now()
	fill(b, s, f, events)
	took := time.Since(begun)
	stats, err := s.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d events in %s: %.0f a second, %.1f µs each; %.1f bytes each on disk", stats.Events, took.Round(time.Second), float64(stats.Events)/took.Seconds(),
		took.Seconds()*1e6/float64(stats.Events), float64(stats.Used)/float64(stats.Events))
	pattern := &store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "app7"}
	half := from.Add(12 * time.Hour)
	root := f.processes[3][0].GetExecId()
	for _, q := range []struct {
		name string
		ask  func() (int, error)
	}{
		{"ten minutes of one workload", func() (int, error) {
			return rowsOf(s.Events(b.Context(), store.EventQuery{Workload: pattern, Period: store.Period{From: half, To: half.Add(10 * time.Minute)}, Limit: 1000}))
		}},
		{"who touched an address", func() (int, error) {
			return rowsOf(s.Events(b.Context(), store.EventQuery{Address: "10.0.3.7", Limit: 1000, Newest: true}))
		}},
		{"who wrote below a directory", func() (int, error) {
			return rowsOf(s.Events(b.Context(), store.EventQuery{PathPrefix: "/var/lib/app7/cache/4/", Limit: 1000, Newest: true}))
		}},
		{"the newest thousand", func() (int, error) {
			return rowsOf(s.Events(b.Context(), store.EventQuery{Limit: 1000, Newest: true}))
		}},
		{"a process tree", func() (int, error) {
			nodes, _, err := s.Tree(b.Context(), root, 1000)
			return len(nodes), err
		}},
		{"the map of a day", func() (int, error) {
			edges, err := s.Edges(b.Context(), store.EdgeQuery{From: from})
			return len(edges), err
		}},
		{"statistics", func() (int, error) {
			_, err := s.Stats(b.Context())
			return 1, err
		}},
	} {
		var times []time.Duration
		n := 0
		for range 15 {
			begun := time.Now()
			if n, err = q.ask(); err != nil {
				b.Fatal(err)
			}
			times = append(times, time.Since(begun))
		}
		first := times[0]
		slices.Sort(times)
		b.Logf("%s: %d rows, first %s, median %s, worst %s", q.name, n, first.Round(time.Millisecond), times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
	}
}

func rowsOf(page *store.EventPage, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(page.Events), nil
}

func fill(b *testing.B, s *clickhouse.Store, f *fleet, events int) {
	b.Helper()
	const each = 2000
	for done := 0; done < events; {
		w := &store.Write{}
		at := f.from.Add(time.Duration(float64(24*time.Hour) * float64(done) / float64(events)))
		for run := range f.runs {
			w.Batches = append(w.Batches, f.batch(run, uint64(done+1), at, each))
			done += each
		}
		if err := s.Write(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
}
