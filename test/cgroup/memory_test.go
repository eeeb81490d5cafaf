// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const sampleEvery = 10 * time.Second

// sample is what an agent has at one time, in KiB: as the kernel counts it; what its runtime has in use, also in part; and the objects in that. And
// how many entries its tables have.
type sample struct {
	resident, inUse, objects int
	remembered               map[string]int
}

func (s sample) ofResident() int { return s.resident }
func (s sample) ofInUse() int    { return s.inUse }
func (s sample) ofObjects() int  { return s.objects }

type samples []sample

func (s samples) all(of func(sample) int) []int {
	out := make([]int, len(s))
	for i, one := range s {
		out[i] = of(one)
	}
	return out
}

// watchMemory notes what an agent has until it is called off.
func watchMemory(t *testing.T, pid int, metrics string) (stop func() samples) {
	t.Helper()
	done, result := make(chan struct{}), make(chan samples, 1)
	look := func() sample {
		s := ask(t, metrics)
		s.resident = resident(t, pid)
		return s
	}
	go func() {
		all := samples{look()}
		for {
			select {
			case <-time.After(sampleEvery):
				all = append(all, look())
			case <-done:
				result <- append(all, look())
				return
			}
		}
	}()
	return func() samples { close(done); return <-result }
}

// ask reads an agent's metrics, as Prometheus would.
func ask(t *testing.T, address string) sample {
	s := sample{remembered: map[string]int{}}
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Error(err)
		return s
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "go_memstats_heap_inuse_bytes":
			s.inUse = int(n) >> 10
		case "go_memstats_heap_alloc_bytes":
			s.objects = int(n) >> 10
		}
		if table, ok := strings.CutPrefix(name, "spoor_agent_remembered{table="); ok {
			s.remembered[strings.Trim(table, `"}`)] = int(n)
		}
	}
	if s.inUse == 0 || s.objects == 0 || len(s.remembered) == 0 {
		t.Errorf("the agent's metrics do not tell: %+v", s)
	}
	return s
}

// loadAverage is that of the last minute (proc_loadavg(5)).
func loadAverage(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	load, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return load
}

// resident returns how much memory a process has, in KiB (proc_pid_status(5)).
func resident(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Error(err)
			}
			return n
		}
	}
	return 0
}
