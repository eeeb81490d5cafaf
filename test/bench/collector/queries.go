// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/test/bench/traffic"
)

const (
	// The nodes of the store that is asked.
	queryNodes = 10
	// A day of events.
	span = 24 * time.Hour
)

// fill stores a day of so many events, over the wire.
func fill(ctx context.Context, url string, events int, day time.Time) (*traffic.Fleet, error) {
	f := traffic.New(queryNodes, traffic.Services, day)
	agents, err := dialAll(ctx, url, f)
	if err != nil {
		return nil, err
	}
	defer closeAll(agents)
	const part, perBatch = 100_000, 500
	first := make([]uint64, queryNodes)
	begun, last := time.Now(), time.Now()
	for made := 0; made < events; {
		f.Now = day.Add(time.Duration(float64(span) * float64(made) / float64(events)))
		all, n, err := load(f, min(part, events-made), perBatch)
		if err != nil {
			return nil, err
		}
		if err := ship(agents, all, first); err != nil {
			return nil, err
		}
		for i := range all {
			first[i] += uint64(len(all[i]))
		}
		made += n
		if time.Since(last) > 20*time.Second {
			last = time.Now()
			fmt.Fprintf(os.Stderr, "%d of %d events, %.0f a second with the time to make them\n", made, events, float64(made)/time.Since(begun).Seconds())
		}
	}
	return f, nil
}

// asker asks as the spoor command does on the collector's host: without compression.
func asker(url string) spoorv1connect.QueryServiceClient {
	return spoorv1connect.NewQueryServiceClient(http.DefaultClient, url, connect.WithAcceptCompression("gzip", nil, nil))
}

// question is one that people ask, each time about something else, and how many things its answer has.
type question struct {
	name string
	ask  func(ctx context.Context) (results int, err error)
}

// queries measures what answers take, from the request to the last byte of the answer.
func queries(ctx context.Context, program, dir string) error {
	p, err := start(program, dir, "--agent-rate", "1000000", "--keep", "0")
	if err != nil {
		return err
	}
	day := time.Now().Add(-span).Truncate(time.Minute).UTC()
	if err := os.WriteFile(filepath.Join(dir, dayFile), []byte(day.Format(time.RFC3339)), 0o600); err != nil {
		return err
	}
	f, err := fill(ctx, p.url, options.Events, day)
	if err != nil {
		return err
	}
	if err := p.Stop(); err != nil {
		return err
	}
	bytes, err := p.stored()
	if err != nil {
		return err
	}
	return interrogate(ctx, program, dir, f, day, float64(bytes))
}

func interrogate(ctx context.Context, program, dir string, f *traffic.Fleet, day time.Time, bytes float64) error {
	p, err := start(program, dir, "--keep", "0") // with nothing in its memory
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "| %d events in the store (%.1f bytes an event) | first answer | p50 / p99 / longest of %d | processor time of the collector for one | results |\n|---|---|---|---|---|\n",
		options.Events, bytes/float64(options.Events), options.Times)
	asked := time.Now()
	atFirst, err := p.spending()
	if err != nil {
		return err
	}
	for _, q := range questions(f, p.url, day) {
		begun := time.Now()
		if _, err := q.ask(ctx); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		first, took, results := time.Since(begun), &samples{}, 0
		before, err := p.Used()
		if err != nil {
			return err
		}
		for range options.Times {
			begun := time.Now()
			n, err := q.ask(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			took.add(time.Since(begun))
			results += n
		}
		after, err := p.Used()
		if err != nil {
			return err
		}
		one := (after - before) / time.Duration(options.Times)
		fmt.Fprintf(os.Stdout, "| %s | %s | %s | %s | %d |\n", q.name, first.Round(10*time.Microsecond), took, one.Round(100*time.Microsecond), results/options.Times)
	}
	atLast, err := p.spending()
	if err != nil {
		return err
	}
	_, _, others := atLast.over(atFirst, time.Since(asked))
	fmt.Fprintf(os.Stdout, "\nOthers took %.2f of %d processors meanwhile.\n", others, runtime.NumCPU())
	return p.Stop()
}

func questions(f *traffic.Fleet, url string, day time.Time) []question {
	client := asker(url)
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
	anybody := func() *traffic.Node { return f.Nodes[r.IntN(len(f.Nodes))] }
	at := func() time.Time { return day.Add(time.Duration(r.Int64N(int64(span - time.Hour)))) }
	events := func(filter *spoorv1.EventFilter, newest bool) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			answer, err := client.ListEvents(ctx, connect.NewRequest(&spoorv1.ListEventsRequest{Filter: filter, Newest: newest, Limit: 1000}))
			if err != nil {
				return 0, err
			}
			return len(answer.Msg.GetEvents()), nil
		}
	}
	edges := func(ctx context.Context, from time.Time, want func(*spoorv1.Edge) bool) (n int, err error) {
		answer, err := client.ListEdges(ctx, connect.NewRequest(&spoorv1.ListEdgesRequest{From: timestamppb.New(from)}))
		if err != nil {
			return 0, err
		}
		for _, e := range answer.Msg.GetEdges() {
			if want(e) {
				n++
			}
		}
		return n, nil
	}
	return []question{
		{"ten minutes of one workload, the first 1,000 events", func(ctx context.Context) (int, error) {
			from := at()
			return events(&spoorv1.EventFilter{
				Workload: fmt.Sprintf("shop/Deployment/service-%d", r.IntN(traffic.Services)), From: timestamppb.New(from), To: timestamppb.New(from.Add(10 * time.Minute)),
			}, false)(ctx)
		}},
		{"ten minutes of one pod: of a workload on one node", func(ctx context.Context) (int, error) {
			from := at()
			return events(&spoorv1.EventFilter{
				Workload: fmt.Sprintf("shop/Deployment/service-%d", r.IntN(traffic.Services)), Node: anybody().Name, From: timestamppb.New(from), To: timestamppb.New(from.Add(10 * time.Minute)),
			}, false)(ctx)
		}},
		{"ten minutes of one process", func(ctx context.Context) (int, error) {
			from, n := at(), anybody()
			return events(&spoorv1.EventFilter{ExecId: n.Daemons[r.IntN(len(n.Daemons))].GetExecId(), From: timestamppb.New(from), To: timestamppb.New(from.Add(10 * time.Minute))}, false)(ctx)
		}},
		{"who touched this address, the newest 1,000", func(ctx context.Context) (int, error) {
			return events(&spoorv1.EventFilter{Address: anybody().Address}, true)(ctx)
		}},
		{"who wrote under this prefix, the newest 1,000 (a folder of many files)", func(ctx context.Context) (int, error) {
			return events(&spoorv1.EventFilter{PathPrefix: fmt.Sprintf("/tmp/upload/%02x", r.IntN(256))}, true)(ctx)
		}},
		{"who wrote one file that all nodes have, the newest 1,000", func(ctx context.Context) (int, error) {
			return events(&spoorv1.EventFilter{PathPrefix: fmt.Sprintf("/var/lib/service/data/%02d", r.IntN(20))}, true)(ctx)
		}},
		{"a process tree", func(ctx context.Context) (int, error) {
			n := anybody()
			answer, err := client.GetTree(ctx, connect.NewRequest(&spoorv1.GetTreeRequest{ExecId: n.Daemons[r.IntN(len(n.Daemons))].GetExecId()}))
			if err != nil {
				return 0, err
			}
			return len(answer.Msg.GetNodes()), nil
		}},
		{"the map of a day", func(ctx context.Context) (int, error) {
			return edges(ctx, day, func(*spoorv1.Edge) bool { return true })
		}},
		{"edges first seen today", func(ctx context.Context) (int, error) {
			return edges(ctx, day, func(e *spoorv1.Edge) bool { return !e.GetFirstSeen().AsTime().Before(day) })
		}},
	}
}

// ask measures answers over a store that an earlier run filled.
func ask(ctx context.Context, program, dir string) error {
	info, err := os.Stat(filepath.Join(dir, "spoor.db"))
	if err != nil {
		return err
	}
	// The fleet is the same each time, but for the hour: what was made last tells it.
	day, err := os.ReadFile(filepath.Join(dir, dayFile))
	if err != nil {
		return err
	}
	begun, err := time.Parse(time.RFC3339, string(day))
	if err != nil {
		return err
	}
	return interrogate(ctx, program, dir, traffic.New(queryNodes, traffic.Services, begun), begun, float64(info.Size()))
}

// dayFile is where the beginning of the day is written down, beside the store.
const dayFile = "bench-day"
