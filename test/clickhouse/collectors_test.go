// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/store/clickhouse"
)

// role says that this program is a collector instead of a test, and of which store.
const role = "SPOOR_TEST_COLLECTOR"

// serve is a collector. It says on its output where it listens, and ends in order when its input does.
func serve(text string) error {
	a := &clickhouse.Address{}
	if err := json.Unmarshal([]byte(text), a); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	c, err := collector.New(collector.Options{
		Listen: "127.0.0.1:0", ClickHouse: a, Registerer: registry, Gatherer: registry, Retention: 24 * time.Hour,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it, it has ended
		cancel()
	}()
	if _, err := fmt.Fprintln(os.Stdout, c.Addr()); err != nil {
		return err
	}
	return c.Run(ctx)
}

// centre is a collector in a process of its own.
type centre struct {
	cmd   *exec.Cmd
	input io.Closer
	addr  string
	said  sync.WaitGroup
}

func startCentre(a *clickhouse.Address) (*centre, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	c := &centre{cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), role+"="+string(b))
	c.cmd.Stderr = os.Stderr
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(output)
	if !lines.Scan() {
		return nil, errors.Join(errors.New("a collector ended before it listened"), c.kill())
	}
	c.addr = lines.Text()
	c.said.Go(func() { _, _ = io.Copy(io.Discard, output) })
	return c, nil
}

// kill ends it as the kernel would.
func (c *centre) kill() error {
	err := c.cmd.Process.Kill()
	c.said.Wait()
	_ = c.cmd.Wait() // it was killed, and says so
	_ = c.input.Close()
	return err
}

// end lets it come to its end.
func (c *centre) end(t *testing.T) {
	t.Helper()
	_ = c.input.Close()
	patient := time.AfterFunc(time.Minute, func() { _ = c.cmd.Process.Kill() })
	defer patient.Stop()
	c.said.Wait()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("a collector: %v", err)
	}
}
