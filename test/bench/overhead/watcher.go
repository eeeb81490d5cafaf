// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long an agent may take to be ready, and to end.
	patience = 60 * time.Second
	// glance is how long we wait between two looks.
	glance = 20 * time.Millisecond
	// keptOutput bounds what is kept of what the agent said, for messages.
	keptOutput = 16 << 10
)

// noAgent is for runs that find out what the noise is.
type noAgent struct{}

func (noAgent) start(context.Context) error { return nil }
func (noAgent) stop() error                 { return nil }

// watcher is an agent that is a command.
type watcher struct {
	command []string
	// readyURL answers 200 when the agent watches; readyLine is part of a line that it prints then. One of them is set.
	readyURL, readyLine string
	// anyPrograms: an agent that holds no BPF programs is fine. For tests.
	anyPrograms bool

	cmd *exec.Cmd
	// gone is closed when the agent has ended; how is in ended then.
	gone     chan struct{}
	ended    error
	output   *output
	programs []ebpf.ProgramID
}

// output keeps the end of what a process says.
type output struct {
	mu   sync.Mutex
	kept []byte
	line string
	seen bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, b...)
	o.seen = o.seen || o.line != "" && bytes.Contains(o.kept, []byte(o.line))
	if extra := len(o.kept) - keptOutput; extra > 0 {
		o.kept = slices.Delete(o.kept, 0, extra)
	}
	return len(b), nil
}

func (o *output) ready() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.kept))
}

func (w *watcher) start(ctx context.Context) error {
	w.output = &output{line: w.readyLine}
	w.cmd = exec.Command(w.command[0], w.command[1:]...)
	w.cmd.Stdout, w.cmd.Stderr = w.output, w.output
	w.cmd.WaitDelay = patience
	// A Ctrl-C is for us: we stop the agent.
	w.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	w.gone = make(chan struct{})
	go func() {
		defer close(w.gone)
		w.ended = w.cmd.Wait()
	}()
	if err := w.await(ctx); err != nil {
		select {
		case <-w.gone:
			return err
		default:
			return errors.Join(err, w.stop())
		}
	}
	return nil
}

// await returns when the agent is ready and holds its programs.
func (w *watcher) await(ctx context.Context) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-w.gone:
			return fmt.Errorf("the agent ended before it was ready (%w):\n%s", w.ended, w.output)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(glance):
		}
		if !w.ready(ctx) {
			continue
		}
		var err error
		if w.programs, err = programsOf(w.cmd.Process.Pid); err != nil {
			return err
		}
		if len(w.programs) > 0 || w.anyPrograms {
			return nil
		}
	}
	if w.ready(ctx) {
		return fmt.Errorf("the agent is ready, but neither it nor its children hold a BPF program; it said:\n%s", w.output)
	}
	return fmt.Errorf("the agent is not ready after %v; it said:\n%s", patience, w.output)
}

func (w *watcher) ready(ctx context.Context) bool {
	if w.readyURL == "" {
		return w.output.ready()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.readyURL, http.NoBody)
	if err != nil {
		return false
	}
	// No connection is kept: it would be one more socket in one of the states only.
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return errors.Join(err, answer.Body.Close()) == nil && answer.StatusCode == http.StatusOK
}

// stop ends the agent as a person would and waits until the kernel has let go of its programs. How it ends is its own
// business (without a collector it complains); but until then it must have watched.
func (w *watcher) stop() error {
	select {
	case <-w.gone:
		return fmt.Errorf("the agent ended by itself (%w), so part of the measurement is without it:\n%s", w.ended, w.output)
	default:
	}
	if err := w.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop agent: %w", err)
	}
	select {
	case <-w.gone:
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("the agent does not end within %v of SIGTERM", patience), unix.Kill(-w.cmd.Process.Pid, unix.SIGKILL))
	}
	for deadline := time.Now().Add(patience); ; {
		left, err := loaded(w.programs)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent has ended, but its BPF programs %v are still loaded: it must not pin them here", left)
		}
		time.Sleep(glance)
	}
}

// loaded returns those of the programs that the kernel still has.
func loaded(programs []ebpf.ProgramID) ([]ebpf.ProgramID, error) {
	var left []ebpf.ProgramID
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return left, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list BPF programs: %w", err)
		}
		id = next
		if slices.Contains(programs, id) {
			left = append(left, id)
		}
	}
}

// programsOf returns the BPF programs that a process and its descendants hold, directly or by a link.
func programsOf(pid int) ([]ebpf.ProgramID, error) {
	family, err := descendants(pid)
	if err != nil {
		return nil, err
	}
	var programs []ebpf.ProgramID
	for _, pid := range family {
		infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			text, err := os.ReadFile(info)
			if err != nil {
				// Closed in the meantime.
				continue
			}
			for line := range strings.Lines(string(text)) {
				value, ok := strings.CutPrefix(line, "prog_id:")
				if !ok {
					continue
				}
				id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", info, err)
				}
				if !slices.Contains(programs, ebpf.ProgramID(id)) {
					programs = append(programs, ebpf.ProgramID(id))
				}
			}
		}
	}
	return programs, nil
}

// descendants returns a process and all that it started, as far as they live.
func descendants(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		// "pid (name) state ppid ..."; the name may hold anything.
		end := strings.LastIndexByte(string(text), ')')
		if end < 0 {
			continue
		}
		var state string
		var parent int
		if _, err := fmt.Sscan(string(text[end+1:]), &state, &parent); err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		children[parent] = append(children[parent], child)
	}
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family, nil
}

// countPrograms counts the BPF programs of the whole machine.
func countPrograms() (int, error) {
	n := 0
	for id := ebpf.ProgramID(0); ; n++ {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("list BPF programs: %w (it takes root)", err)
		}
		id = next
	}
}
