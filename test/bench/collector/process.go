// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a collector that runs.
type process struct {
	cmd  *exec.Cmd
	dir  string
	url  string
	logs chan error
}

// start runs a collector on a folder, and returns when it listens.
func start(program, dir string, flags ...string) (*process, error) {
	p := &process{dir: dir, logs: make(chan error, 1)}
	args := append([]string{"collector", "--without-tls", "--listen", "127.0.0.1:0", "--data", dir, "--log-format", "json"}, flags...)
	p.cmd = exec.Command(program, args...)
	output, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the collector: %w", err)
	}
	url := make(chan string, 1)
	go func() { p.logs <- follow(output, url) }()
	select {
	case p.url = <-url:
		return p, nil
	case err := <-p.logs:
		return nil, errors.Join(fmt.Errorf("the collector ended at once: %w", err), p.cmd.Wait())
	}
}

// follow reads the log to its end: it says once where the collector listens, and passes on what is wrong.
func follow(r io.Reader, url chan<- string) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line struct{ Level, Msg, URL string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		switch {
		case line.Msg == "collecting":
			url <- strings.TrimSuffix(line.URL, "/")
		case line.Level != "INFO" && line.Level != "DEBUG":
			fmt.Fprintln(os.Stderr, lines.Text())
		}
	}
	return lines.Err()
}

// stop ends it in order, so that the store is whole on the disk.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return errors.Join(<-p.logs, p.cmd.Wait())
}

// used is the time that the collector has spent on processors.
func (p *process) used() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The fields after the name, which may have anything in it: proc(5), utime is 14 and stime 15.
	return ticks(bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])[11:13])
}

// ticks is the sum of times in hundredths of a second.
func ticks(fields [][]byte) (time.Duration, error) {
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

// spent is the time that processors gave, by who got it.
type spent struct{ collector, agents, all time.Duration }

// spending is what was spent so far: by the collector, by the made-up agents, which are this process, and by everybody on the machine.
func (p *process) spending() (s spent, err error) {
	if s.collector, err = p.used(); err != nil {
		return spent{}, err
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return spent{}, err
	}
	s.agents = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return spent{}, err
	}
	// proc(5): user, nice, system, idle, iowait, irq, softirq of all processors.
	fields := bytes.Fields(b[:bytes.IndexByte(b, '\n')])
	s.all, err = ticks(slices.Concat(fields[1:4], fields[6:8]))
	return s, err
}

// over is what was spent since, in processors.
func (s spent) over(since spent, took time.Duration) (collector, agents, others float64) {
	collector = (s.collector - since.collector).Seconds() / took.Seconds()
	agents = (s.agents - since.agents).Seconds() / took.Seconds()
	return collector, agents, (s.all-since.all).Seconds()/took.Seconds() - collector - agents
}

// resident returns the memory that the collector has, and the most that it had, in MiB.
func (p *process) resident() (now, most int, err error) {
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

// stored is how many bytes the store of a collector that has stopped takes.
func (p *process) stored() (bytes int64, err error) {
	files, err := filepath.Glob(filepath.Join(p.dir, "spoor.db*"))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return 0, err
		}
		bytes += info.Size()
	}
	return bytes, nil
}
