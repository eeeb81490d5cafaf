// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spoor/spoor/agent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/test/loopback"
	stage "github.com/spoor/spoor/test/scene"
)

// patience is more than anything here takes, also on an emulated machine.
const patience = 2 * time.Minute

// What this program is instead of a test, when it starts itself.
const role, settings = "SPOOR_UPGRADE_ROLE", "SPOOR_UPGRADE_SETTINGS"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "load":
		err = load(os.Getenv(settings))
	case "agent":
		err = runAgent(os.Getenv(settings))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// myself starts this program in another role.
func myself(what, how string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+what, settings+"="+how)
	return cmd
}

// build is one version of the agent: versions differ in the sizes of their maps, so the next one cannot use all of them.
type build struct {
	CollectorURL, Pin, Version string
	FileFacts, FlowFacts       uint32
	ProcessRing, NameRing      uint32
	Patience                   time.Duration
}

// runAgent is an agent until SIGTERM. It says when its sensors are attached.
func runAgent(how string) error {
	var b build
	if err := json.Unmarshal([]byte(how), &b); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a, err := agent.New(agent.Options{
		CollectorURL: b.CollectorURL, Pin: b.Pin, Version: b.Version, FileFacts: b.FileFacts, FlowFacts: b.FlowFacts,
		ProcessRingBytes: b.ProcessRing, NameRingBytes: b.NameRing, Interval: 100 * time.Millisecond, Node: "upgraded",
		DrainTimeout: time.Minute, PinPatience: b.Patience, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "attached")
	return a.Run(ctx)
}

// running is a process of this test.
type running struct {
	t     *testing.T
	what  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	trace bytes.Buffer
	ended bool
}

func start(t *testing.T, what string, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, what: what, cmd: cmd}
	cmd.Stderr = &r.trace
	var err error
	if r.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !r.ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return r
}

// says waits for a line.
func (r *running) says() string {
	r.t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil {
		_ = r.wait()
		r.t.Fatalf("%s ended (%v): %s", r.what, err, &r.trace)
	}
	return strings.TrimSpace(line)
}

func (r *running) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatalf("%s: %v", r.what, err)
	}
}

func (r *running) wait() error {
	r.ended = true
	return r.cmd.Wait()
}

// stop ends the process in good order.
func (r *running) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	if err := r.wait(); err != nil {
		r.t.Fatalf("%s: %v\n%s", r.what, err, &r.trace)
	}
}

func (r *running) kill() {
	r.t.Helper()
	r.signal(syscall.SIGKILL)
	var exit *exec.ExitError
	if err := r.wait(); !errors.As(err, &exit) {
		r.t.Fatalf("%s: %v", r.what, err)
	}
}

// scene is a collector, a BPF file system, and builds of an agent.
type scene struct {
	t      *testing.T
	url    string
	pins   string
	builds [2]build
	ask    spoorv1connect.QueryServiceClient
}

func newScene(t *testing.T) *scene {
	t.Helper()
	program, err := filepath.Abs("../../bin/spoor")
	if err != nil {
		t.Fatal(err)
	}
	mount := stage.BPFFS(t)
	address := loopback.Free(t)
	s := &scene{t: t, url: "http://" + address, pins: filepath.Join(mount, "spoor")}
	s.ask = spoorv1connect.NewQueryServiceClient(http.DefaultClient, s.url)
	s.builds[0] = build{CollectorURL: s.url, Pin: s.pins, Version: "1", Patience: patience}
	s.builds[1] = build{
		CollectorURL: s.url, Pin: s.pins, Version: "2", Patience: patience, FileFacts: 20000, FlowFacts: 10000, ProcessRing: 2 << 20, NameRing: 4 << 20,
	}
	collector := start(t, "collector", exec.Command(program, "collector", "--without-tls", "--listen", address, "--data", t.TempDir()))
	t.Cleanup(collector.stop)
	s.until("the collector answers", func() string {
		if _, err := s.ask.GetStatus(t.Context(), connect.NewRequest(&spoorv1.GetStatusRequest{})); err != nil {
			return err.Error()
		}
		return ""
	})
	return s
}

// agent starts a build; attached waits for it.
func (s *scene) agent(b build) *running {
	s.t.Helper()
	how, err := json.Marshal(b)
	if err != nil {
		s.t.Fatal(err)
	}
	return start(s.t, "agent "+b.Version, myself("agent", string(how)))
}

func (r *running) attached() *running {
	r.t.Helper()
	if line := r.says(); line != "attached" {
		r.t.Fatalf("%s says %q", r.what, line)
	}
	return r
}

func (s *scene) load() *running {
	s.t.Helper()
	return start(s.t, "load", myself("load", s.t.TempDir()))
}

// finish ends a load and returns what it did.
func (r *running) finish() done {
	r.t.Helper()
	if err := r.in.Close(); err != nil {
		r.t.Fatal(err)
	}
	var d done
	if err := json.Unmarshal([]byte(r.says()), &d); err != nil {
		r.t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// until waits until missing returns "".
func (s *scene) until(what string, missing func() string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		why := missing()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within %s: %s", what, patience, why)
		}
	}
}

// events returns all that agents told, in the order of its arrival.
func (s *scene) events() []*spoorv1.Event {
	s.t.Helper()
	all, err := stage.Events(s.t.Context(), s.ask, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}
