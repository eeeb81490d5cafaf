// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spoor/spoor/test/bench/running"
)

// process is a collector that runs.
type process struct {
	*running.Process
	dir string
	url string
}

// start runs a collector on a folder, and returns when it listens.
func start(program, dir string, flags ...string) (*process, error) {
	p, url, err := running.Collector(program, dir, flags...)
	if err != nil {
		return nil, err
	}
	return &process{Process: p, dir: dir, url: url}, nil
}

// spent is the time that processors gave, by who got it.
type spent struct{ collector, agents, all time.Duration }

// spending is what was spent so far: by the collector, by the made-up agents, which are this process, and by everybody on the machine.
func (p *process) spending() (s spent, err error) {
	if s.collector, err = p.Used(); err != nil {
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
	s.all, err = running.Ticks(slices.Concat(fields[1:4], fields[6:8]))
	return s, err
}

// over is what was spent since, in processors.
func (s spent) over(since spent, took time.Duration) (collector, agents, others float64) {
	collector = (s.collector - since.collector).Seconds() / took.Seconds()
	agents = (s.agents - since.agents).Seconds() / took.Seconds()
	return collector, agents, (s.all-since.all).Seconds()/took.Seconds() - collector - agents
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
