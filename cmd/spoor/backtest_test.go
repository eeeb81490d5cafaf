// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/cmd/internal/cli"
)

// archive answers ListEvents from memory.
type archive struct {
	spoorv1connect.UnimplementedQueryServiceHandler
	events []*spoorv1.Event
	asked  atomic.Int64
	// What happens when so many pages were asked for.
	at   int64
	stop func()
}

func (a *archive) ListEvents(_ context.Context, r *connect.Request[spoorv1.ListEventsRequest]) (*connect.Response[spoorv1.ListEventsResponse], error) {
	if a.asked.Add(1) == a.at {
		a.stop()
	}
	answer := &spoorv1.ListEventsResponse{}
	if r.Msg.GetNewest() {
		answer.Events = a.events[max(0, len(a.events)-int(r.Msg.GetLimit())):]
		return connect.NewResponse(answer), nil
	}
	for _, ev := range a.events {
		switch {
		case ev.GetId() <= r.Msg.GetAfterId():
		case len(answer.GetEvents()) == int(r.Msg.GetLimit()):
			answer.More = true
			return connect.NewResponse(answer), nil
		default:
			answer.Events = append(answer.Events, ev)
		}
	}
	return connect.NewResponse(answer), nil
}

// calls makes n events that break a contract in one of a few ways; their ids grow by steps.
func calls(n int, step func(i int) uint64) []*spoorv1.Event {
	instance := &spoorv1.Instance{Id: "i1", Workload: &spoorv1.Workload{Cluster: "c", Namespace: "shop", Kind: "Deployment", Name: "checkout"}}
	id, begin := uint64(0), time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var all []*spoorv1.Event
	for i := range n {
		id += step(i)
		at := timestamppb.New(begin.Add(time.Duration(i) * 5 * time.Second))
		all = append(all, &spoorv1.Event{
			Id: id, Sequence: uint64(i + 1), Epoch: "e", Node: "n1", Kind: "flow", Time: at, Instance: instance,
			Fact: &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
				Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, First: at, Last: at, Opened: 1,
				Local: &spoorv1.Endpoint{Address: "10.0.0.1"}, Peer: &spoorv1.Endpoint{Address: fmt.Sprintf("203.0.113.%d", i/4000), Port: 443},
			}},
		})
	}
	return all
}

func serve(t *testing.T, a *archive) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewQueryServiceHandler(a))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// Pages are asked for ahead, as if no id was missing. Every event comes once and in its order all the same.
func TestPagesAreAskedForAhead(t *testing.T) {
	for name, step := range map[string]func(int) uint64{
		"dense":     func(int) uint64 { return 1 },
		"sparse":    func(i int) uint64 { return uint64(1 + i%7*3) },
		"one chasm": func(i int) uint64 { return 1 + uint64(i/15000)*50 },
		"late":      func(i int) uint64 { return 1 + uint64(max(0, 1-i))*9_000_000 },
	} {
		t.Run(name, func(t *testing.T) {
			a := &archive{events: calls(33_333, step)}
			h := history{remote: remote{Collector: serve(t, a), Timeout: time.Minute}}
			got, last := 0, 0.0
			err := h.pages(t.Context(), &cli.Streams{}, &reading{measure: true}, func(evs []*spoorv1.Event, done float64) error {
				for _, ev := range evs {
					if got >= len(a.events) || ev.GetId() != a.events[got].GetId() {
						return fmt.Errorf("event %d has id %d", got, ev.GetId())
					}
					got++
				}
				if done <= last {
					return fmt.Errorf("%f of it is done after %f", done, last)
				}
				last = done
				return nil
			})
			if err != nil || got != len(a.events) || last != 1 {
				t.Errorf("%d of %d events, %f of it: %v", got, len(a.events), last, err)
			}
		})
	}
}

// What is asked for ahead is given up when something fails.
func TestPagesEndWithAnError(t *testing.T) {
	a := &archive{events: calls(60_000, func(int) uint64 { return 1 })}
	h := history{remote: remote{Collector: serve(t, a), Timeout: time.Minute}}
	enough := errors.New("enough")
	n := 0
	err := h.pages(t.Context(), &cli.Streams{}, &reading{}, func([]*spoorv1.Event, float64) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Errorf("%d pages: %v", n, err)
	}
}

const checkout = `apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  calls: []
`

// A back-test that was interrupted goes on where it was, and gives the answer of one that was not.
func TestBacktestResumes(t *testing.T) {
	dir := t.TempDir()
	proposed, file := filepath.Join(dir, "proposed.yaml"), filepath.Join(dir, "resume.json")
	if err := os.WriteFile(proposed, []byte(checkout), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &archive{events: calls(70_000, func(int) uint64 { return 1 })}
	url := serve(t, a)
	run := func(ctx context.Context, contracts, resume string) (out, remarks string, err error) {
		var stdout, stderr bytes.Buffer
		c := &contractBacktestCommand{Proposed: []string{contracts}, Resume: resume, Output: "table", history: history{remote: remote{Collector: url, Timeout: time.Minute}}}
		err = c.Run(ctx, &cli.Streams{Out: &stdout, Err: &stderr})
		return stdout.String(), stderr.String(), err
	}
	whole, _, _ := run(t.Context(), proposed, "")
	if !strings.Contains(whole, "70000 events") || !strings.Contains(whole, "New: 18") {
		t.Fatalf("the whole answer:\n%s", whole)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a.asked.Store(0)
	a.at, a.stop = 6, cancel
	if out, _, err := run(ctx, proposed, file); err == nil || out != "" || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("it was not interrupted: %v\n%s", err, out)
	}
	other := filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(other, []byte(strings.Replace(checkout, "calls: []", "callers: []", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t.Context(), other, file); err == nil || !strings.Contains(err.Error(), "other contracts") {
		t.Errorf("other contracts went on with it: %v", err)
	}
	out, remarks, _ := run(t.Context(), proposed, file)
	if out != whole || !strings.Contains(remarks, "Going on after ") {
		t.Errorf("resumed, it says\n%s%s\ninstead of\n%s", remarks, out, whole)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t.Context(), proposed, file); err == nil || !strings.Contains(err.Error(), "not what a back-test") {
		t.Errorf("a damaged file was taken: %v", err)
	}
}

func TestProgressLine(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.Local)
	p := &progress{n: 2_500_000, started: true}
	if got, want := p.line(at, 0.25, 10*time.Second), "[######..................]  25 %  2500000 events, at 2026-05-01 12:00:00, 30s left"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := p.line(at, 0, time.Second), "2500000 events, at 2026-05-01 12:00:00"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// What an earlier run did took this one no time.
	p.start = 0.5
	if got := p.line(at, 0.75, 10*time.Second); !strings.HasSuffix(got, ", 10s left") {
		t.Errorf("got %q", got)
	}
}
