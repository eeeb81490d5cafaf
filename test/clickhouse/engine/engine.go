// SPDX-License-Identifier: Apache-2.0

// Package engine runs ClickHouse's own engine behind its HTTP interface, in a process of its own, for tests. `make engine` installs it.
package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Engine is one that runs.
type Engine struct {
	// Host is where it listens: host:port.
	Host  string
	cmd   *exec.Cmd
	input io.Closer
}

// Start starts one whose data are in a folder. modules is where `make engine` has put it, and script is serve.js. It ends with this process at
// the latest.
func Start(modules, script, folder, port string) (*Engine, error) {
	script, err := filepath.Abs(script)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(modules, "node_modules", "chdb")); err != nil {
		return nil, fmt.Errorf("ClickHouse's engine is not installed: `make engine` does: %w", err)
	}
	e := &Engine{cmd: exec.Command("node", script, folder, port)}
	e.cmd.Dir = modules
	e.cmd.Stderr = os.Stderr
	input, err := e.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	e.input = input
	output, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start ClickHouse's engine: %w", err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		_ = e.Kill()
		return nil, fmt.Errorf("ClickHouse's engine did not say where it listens: %w", err)
	}
	e.Host = "127.0.0.1:" + strings.TrimSpace(line)
	return e, nil
}

// Do runs a statement of a test.
func (e *Engine) Do(ctx context.Context, statement string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.Host+"/", strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return string(answer), err
}

// Stop lets it end.
func (e *Engine) Stop() error {
	_ = e.input.Close()
	return e.cmd.Wait()
}

// Kill ends it as the kernel would.
func (e *Engine) Kill() error {
	err := e.cmd.Process.Kill()
	_ = e.cmd.Wait() // it was killed, and says so
	_ = e.input.Close()
	return err
}
