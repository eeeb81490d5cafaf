// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent/ship"
	"github.com/spoor/spoor/agent/ship/spool"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

// program is the agent as it is deployed; `make build` leaves it there.
const program = "../../bin/spoor-agent"

func eventually(t *testing.T, what string, said *scene.Transcript, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s. The agent says:\n%s", what, said)
		}
	}
}

// TestAgentProcess kills the agent, as it is deployed and with all its sensors, while no collector is there; the next one
// brings everything that it had on disk, once.
func TestAgentProcess(t *testing.T) {
	dir := t.TempDir()
	folder, data := filepath.Join(dir, "spool"), filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	url, inherited := front(t)
	said := &scene.Transcript{}
	start := func() *exec.Cmd {
		cmd := exec.Command(program, "--collector", url, "--node", "n", "--pin", "off", "--spool", folder, "--interval", "50ms")
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v: `make build` builds it", err)
		}
		t.Cleanup(func() {
			if cmd.ProcessState == nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
		return cmd
	}
	defer load(t, dir)()

	const lives = 2
	var onDisk map[string]uint64
	for begun := 0; len(onDisk) < lives; begun++ {
		if begun == 10*lives {
			t.Fatalf("%d runs left something of %d that were killed; the agent says:\n%s", len(onDisk), begun, said)
		}
		cmd, before := start(), bytesOf(folder)
		eventually(t, "some events on disk", said, func() bool { return bytesOf(folder) > before+100_000 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed, and says so; maybe in the middle of its first batch, which then is torn
		onDisk = left(t, folder)
	}

	collector, err := spawn("collector", "collector", part{Dir: data}, nil, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	between, err := spawn("proxy", "proxy", part{Dir: data, Calm: true}, inherited, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	last := start()
	eventually(t, "what earlier runs left", said, func() bool {
		return strings.Count(said.String(), "what an earlier run left has arrived") == len(onDisk)
	})
	if err := last.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := last.Wait(); err != nil {
		t.Errorf("the last agent: %v:\n%s", err, said)
	}
	for _, p := range []*process{between, collector} {
		if err := p.end(false); err != nil {
			t.Error(err)
		}
	}
	c := count(t, data, []string{"n"}, onDisk, func(*testing.T, *spoorv1.Event) {})
	t.Logf("%d runs, the killed ones with %d events on disk; stored %d, missing %d, doubled %d", len(c.last), c.onDisk, c.stored, c.missing, c.doubled)
	if c.missing != 0 || c.doubled != 0 || len(c.last) != len(onDisk)+1 {
		t.Errorf("that is not each of them once; the agent says:\n%s", said)
	}
	for epoch, n := range onDisk {
		if c.last[epoch] != n {
			t.Errorf("of %s %d events are stored, %d were on disk", epoch, c.last[epoch], n)
		}
	}
}

// load makes files until it is told to stop.
func load(t *testing.T, dir string) (stop func()) {
	t.Helper()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), []byte("content"), 0o600); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}

func segments(folder string) []string {
	names, _ := filepath.Glob(filepath.Join(folder, "*.segment")) // the pattern is sound
	return names
}

func bytesOf(folder string) int64 {
	sum := int64(0)
	for _, name := range segments(folder) {
		if info, err := os.Stat(name); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// left returns how many records each run left, by epoch.
func left(t *testing.T, folder string) map[string]uint64 {
	t.Helper()
	s, err := ship.OpenSpool(folder, spool.MinLimit, &spoorv1.Hello{Epoch: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	runs := map[string]uint64{}
	for _, run := range s.Left() {
		var hello spoorv1.Hello
		if err := proto.Unmarshal(run.Owner, &hello); err != nil {
			t.Fatal(err)
		}
		runs[hello.GetEpoch()] += uint64(run.Records())
	}
	return runs
}
