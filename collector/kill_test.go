// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

const (
	// childDir is the variable that makes the test binary a collector over a folder.
	childDir = "SPOOR_TEST_COLLECTOR"
	// killRounds is the variable that says how often the collector is killed; 5 times without it.
	killRounds = "SPOOR_KILL_ROUNDS"
)

// child is a collector that says its address and runs until its input ends.
func child(dir string) int {
	registry := prometheus.NewRegistry()
	c, err := collector.New(collector.Options{
		Listen: "127.0.0.1:0", DataDir: dir, Registerer: registry, Gatherer: registry,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, c.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it, it has ended
	}()
	if err := c.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a child that runs.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	url   string
}

func spawn(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the collector does not say its address: %v", err)
	}
	return &process{cmd, input, "http://" + strings.TrimSpace(addr)}
}

// kill ends the child as a power cut would end its process.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed, and says so
	_ = p.input.Close()
}

// end lets the child stop in order.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("the collector's end: %v", err)
	}
}

// TestKill kills the collector with SIGKILL at random times while agents ship, and starts it again. In the end every
// event is there exactly once, in the events and in what is summed up from them.
func TestKill(t *testing.T) {
	rounds := 5
	if s := os.Getenv(killRounds); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", killRounds, err)
		}
	}
	dir := t.TempDir()
	var url atomic.Pointer[string]
	var enough atomic.Bool
	const agents = 3
	var shipped [agents]*story
	var broken [agents]int
	var wg sync.WaitGroup
	fatal := make(chan error, agents)
	for i := range agents {
		a, s := newAgent(fmt.Sprint("node", i)), newStory(fmt.Sprint("node", i), fmt.Sprint("service", i))
		shipped[i] = s
		wg.Go(func() {
			defer a.transport.CloseIdleConnections()
			long := s.process("daemon")
			more := func() *spoorv1.Batch {
				if enough.Load() {
					return nil
				}
				short := s.process(fmt.Sprint("p", s.batches, "x"))
				s.tell(short, started())
				for range 20 {
					// Agent i calls agent i+1, which tells the other half, on a port that says which call it was.
					port := uint32(10000 + s.sequence%50000)
					s.tell(long, calls(address(i), address(i+1), 80, port))
				}
				return s.next()
			}
			for {
				u := url.Load()
				if u == nil {
					time.Sleep(5 * time.Millisecond) // until there is a collector
					continue
				}
				err := a.ship(t.Context(), *u, more)
				if err == nil {
					return
				}
				if strings.Contains(err.Error(), "acknowledged") && strings.Contains(err.Error(), "before") {
					fatal <- err // something that was acknowledged is lost
					return
				}
				broken[i]++
				time.Sleep(5 * time.Millisecond) // nobody may be there yet
			}
		})
	}
	for range rounds {
		p := spawn(t, dir)
		url.Store(&p.url)
		time.Sleep(time.Duration(20+rand.IntN(600)) * time.Millisecond) // any time is as good as another: that is the test
		p.kill(t)
		select {
		case err := <-fatal:
			t.Fatal(err)
		default:
		}
	}
	enough.Store(true)
	last := spawn(t, dir)
	url.Store(&last.url)
	wg.Wait()
	last.end(t)
	select {
	case err := <-fatal:
		t.Fatal(err)
	default:
	}

	s, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	total, flows := 0, uint64(0)
	for i, story := range shipped {
		next := uint64(1)
		q := store.EventQuery{Node: story.node, Limit: 10000}
		for more := true; more; {
			page, err := s.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range page.Events {
				if ev.GetSequence() != next {
					t.Fatalf("%s: event %d follows event %d", story.node, ev.GetSequence(), next-1)
				}
				next++
				if ev.GetFlow() != nil {
					flows++
				}
			}
			more, q.AfterID = page.More, page.Through
		}
		if next-1 != story.sequence {
			t.Errorf("%s: %d events are stored, %d were told", story.node, next-1, story.sequence)
		}
		total += int(next - 1)
		t.Logf("%s: %d events, %d streams broken", story.node, next-1, broken[i])
	}
	edges, err := s.Edges(t.Context(), store.EdgeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	opened := uint64(0)
	for _, e := range edges {
		opened += e.GetOpened()
	}
	if opened != flows {
		t.Errorf("the edges sum up %d connections, the events tell of %d", opened, flows)
	}
	stats, err := s.Stats(t.Context())
	if err != nil || stats.Events != uint64(total) {
		t.Errorf("the store counts %d events (%v), there are %d", stats.Events, err, total)
	}
	if gaps, err := s.Gaps(t.Context(), store.Period{}); err != nil || len(gaps) != 0 {
		t.Errorf("gaps: %v (%v)", gaps, err)
	}
}

func address(i int) string { return fmt.Sprintf("10.0.0.%d", i%3+1) }
