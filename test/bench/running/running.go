// SPDX-License-Identifier: Apache-2.0

// Package running is for programs that run in processes of their own beside a measurement: whether they are ready, and what they take.
package running

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Line is what is read of a line of a program's log, which is JSON.
type Line struct{ Level, Msg, URL string }

// Process is a program that runs.
type Process struct {
	cmd  *exec.Cmd
	logs chan error
}

// Start runs a program and returns the line of its log that says it is ready. What it says of warnings and errors is passed on.
func Start(ready func(Line) bool, program string, args ...string) (*Process, Line, error) {
	p := &Process{cmd: exec.Command(program, args...), logs: make(chan error, 1)}
	output, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, Line{}, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, Line{}, fmt.Errorf("start %s: %w", program, err)
	}
	said := make(chan Line, 1)
	go func() { p.logs <- follow(output, ready, said) }()
	select {
	case line := <-said:
		return p, line, nil
	case err := <-p.logs:
		return nil, Line{}, errors.Join(fmt.Errorf("%s ended at once: %w", program, err), p.cmd.Wait())
	}
}

// Collector runs a collector on a folder, and returns when it listens, at a URL.
func Collector(program, dir string, flags ...string) (p *Process, url string, err error) {
	args := append([]string{"collector", "--without-tls", "--listen", "127.0.0.1:0", "--data", dir, "--log-format", "json"}, flags...)
	p, line, err := Start(func(l Line) bool { return l.Msg == "collecting" }, program, args...)
	return p, strings.TrimSuffix(line.URL, "/"), err
}

// follow reads the log to its end.
func follow(r io.Reader, ready func(Line) bool, said chan<- Line) error {
	lines, waiting := bufio.NewScanner(r), true
	for lines.Scan() {
		var line Line
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		switch {
		case waiting && ready(line):
			waiting = false
			said <- line
		case line.Level != "INFO" && line.Level != "DEBUG":
			fmt.Fprintln(os.Stderr, lines.Text())
		}
	}
	return lines.Err()
}

// Stop ends it in order.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return errors.Join(<-p.logs, p.cmd.Wait())
}

// Used is the time that it has spent on processors, in steps of 10 ms.
func (p *Process) Used() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The fields after the name, which may have anything in it: proc(5), utime is 14 and stime 15.
	return Ticks(bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])[11:13])
}

// Ticks is the sum of times in hundredths of a second, as in /proc.
func Ticks(fields [][]byte) (time.Duration, error) {
	sum := 0
	for _, f := range fields {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond, nil
}

// Resident returns the memory that it has, and the most that it had, in MiB.
func (p *Process) Resident() (now, most int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		for name, field := range map[string]*int{"VmRSS:": &now, "VmHWM:": &most} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(rest, &kib); err != nil {
					return 0, 0, err
				}
				*field = kib / 1024
			}
		}
	}
	return now, most, nil
}
