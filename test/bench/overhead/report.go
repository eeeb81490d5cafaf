// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// row is one operation's result; times are in nanoseconds.
type row struct {
	Operation   string  `json:"operation"`
	OffMin      float64 `json:"off_min_ns"`
	OnMin       float64 `json:"on_min_ns"`
	RatioMin    float64 `json:"ratio_min"`
	OffMedian   float64 `json:"off_median_ns"`
	OnMedian    float64 `json:"on_median_ns"`
	RatioMedian float64 `json:"ratio_median"`
	OffSlices   int     `json:"off_slices"`
	OnSlices    int     `json:"on_slices"`
}

// report is a run.
type report struct {
	Kernel       string `json:"kernel"`
	Architecture string `json:"architecture"`
	CPU          string `json:"cpu"`
	CPUs         int    `json:"cpus"`
	// LoadAverage is of the last minute, before and after: neighbours are noise.
	LoadBefore string `json:"load_before"`
	LoadAfter  string `json:"load_after"`
	// OtherPrograms is how many BPF programs were loaded beside the agent's.
	OtherPrograms int      `json:"other_bpf_programs"`
	Agent         []string `json:"agent"`
	// Clock is wall or cpu.
	Clock string `json:"clock"`
	Rows  []row  `json:"operations"`
}

func newRow(name string, s samples) row {
	r := row{
		Operation: name,
		OffMin:    smallest(s[off]), OnMin: smallest(s[on]), OffMedian: median(s[off]), OnMedian: median(s[on]),
		OffSlices: len(s[off]), OnSlices: len(s[on]),
	}
	r.RatioMin, r.RatioMedian = r.OnMin/r.OffMin, r.OnMedian/r.OffMedian
	return r
}

func newReport(agent []string) (*report, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	others, err := countPrograms()
	if err != nil {
		return nil, err
	}
	return &report{
		Kernel: unix.ByteSliceToString(u.Release[:]), Architecture: unix.ByteSliceToString(u.Machine[:]), CPU: cpuModel(),
		CPUs: runtime.NumCPU(), LoadBefore: loadAverage(), OtherPrograms: others, Agent: agent,
	}, nil
}

// cpuModel is what the kernel calls the processor; not all architectures say.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeTable(w io.Writer) error {
	agent := "none in either state: the ratios show the noise"
	if len(r.Agent) > 0 {
		agent = strings.Join(r.Agent, " ")
	}
	fmt.Fprintf(w, "Linux %s %s, %d x %s\nload average %s before, %s after; %d BPF programs of others\nclock: %s\nagent: %s\n\n",
		r.Kernel, r.Architecture, r.CPUs, r.CPU, r.LoadBefore, r.LoadAfter, r.OtherPrograms, r.Clock, agent)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ns per operation\tmin off\tmin on\tratio\tmedian off\tmedian on\tratio\tslices\t")
	for _, o := range r.Rows {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\tx%.3f\t%.0f\t%.0f\tx%.3f\t%d+%d\t\n",
			o.Operation, o.OffMin, o.OnMin, o.RatioMin, o.OffMedian, o.OnMedian, o.RatioMedian, o.OffSlices, o.OnSlices)
	}
	return t.Flush()
}
