// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// envAgent makes the test binary play an agent: one that is ready, one that never is, one that ends at once.
const envAgent = "SPOOR_TEST_AGENT"

func TestMain(m *testing.M) {
	stopped := make(chan os.Signal, 1)
	switch os.Getenv(envAgent) {
	case "":
		os.Exit(m.Run())
	case "ready":
		signal.Notify(stopped, unix.SIGTERM)
		fmt.Fprintln(os.Stdout, "all is well: watching")
		<-stopped
	default:
		fmt.Fprintln(os.Stdout, "there is nothing to watch")
		os.Exit(1)
	}
}

func TestOperationsCanBeRepeated(t *testing.T) {
	ops, err := operations(places{tmpfs: t.TempDir(), ext4: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) != 10 {
		t.Errorf("%d operations", len(ops))
	}
	for _, op := range ops {
		for range 3 {
			ns, err := op.timed(20)
			if err != nil {
				t.Fatal(err)
			}
			if ns <= 0 {
				t.Errorf("%s takes %v ns", op.name, ns)
			}
		}
	}
	if err := closeAll(ops); err != nil {
		t.Error(err)
	}
}

// recorder notes what is asked of an agent.
type recorder struct {
	log  []string
	fail error
}

func (r *recorder) start(context.Context) error { r.log = append(r.log, "start"); return r.fail }
func (r *recorder) stop() error                 { r.log = append(r.log, "stop"); return nil }

func TestMeasureAlternates(t *testing.T) {
	r := &recorder{}
	op := &operation{name: "note", do: func() error { r.log = append(r.log, "do"); return nil }}
	results, err := measure(t.Context(), plan{rounds: 2, slices: 1, length: time.Nanosecond}, r, []*operation{op}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	// Calibration, then off, on, and in the second round on, off.
	if got := strings.Join(r.log, ","); got != "do,do,start,do,stop,start,do,stop,do" {
		t.Errorf("log is %s", got)
	}
	if len(results[0][off]) != 2 || len(results[0][on]) != 2 {
		t.Errorf("samples are %v", results)
	}
	r.fail = errors.New("no")
	if _, err := measure(t.Context(), plan{rounds: 1, slices: 1, length: 1}, r, []*operation{op}, func(string) {}); !errors.Is(err, r.fail) {
		t.Errorf("error is %v", err)
	}
}

func TestRow(t *testing.T) {
	r := newRow("x", samples{{4, 2, 3}, {6, 3, 8, 5}})
	want := row{
		Operation: "x", OffMin: 2, OnMin: 3, RatioMin: 1.5, OffMedian: 3, OnMedian: 5.5, RatioMedian: 5.5 / 3, OffSlices: 3, OnSlices: 4,
	}
	if r != want {
		t.Errorf("row is %+v, not %+v", r, want)
	}
}

func TestTable(t *testing.T) {
	r := &report{
		Kernel: "6.18", Architecture: "x86_64", CPU: "A CPU", CPUs: 2, LoadBefore: "0.10", LoadAfter: "0.90", Clock: "wall", Agent: []string{"bin/spoor", "up"},
		Rows: []row{newRow("overwrite", samples{{709, 720}, {709, 731}}), newRow("fork+exec+exit", samples{{100000}, {103000}})},
	}
	var b bytes.Buffer
	if err := r.writeTable(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Linux 6.18 x86_64, 2 x A CPU
load average 0.10 before, 0.90 after; 0 BPF programs of others
clock: wall
agent: bin/spoor up

  ns per operation  min off  min on   ratio  median off  median on   ratio  slices
         overwrite      709     709  x1.000         714        720  x1.008     2+2
    fork+exec+exit   100000  103000  x1.030      100000     103000  x1.030     1+1
`
	if b.String() != want {
		t.Errorf("table is\n%s", b.String())
	}
}

func TestWatcher(t *testing.T) {
	w := &watcher{command: []string{"/proc/self/exe"}, readyLine: "watching", anyPrograms: true}
	t.Setenv(envAgent, "ready")
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := w.cmd.Process.Pid
	if family, err := descendants(os.Getpid()); err != nil || len(family) < 2 || family[0] != os.Getpid() {
		t.Errorf("descendants are %v, %v", family, err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the agent is still there: %v", err)
	}

	// One that ends while it should watch spoils the measurement.
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.gone
	if err := w.stop(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("error is %v", err)
	}

	t.Setenv(envAgent, "broken")
	if err := w.start(t.Context()); err == nil || !strings.Contains(err.Error(), "there is nothing to watch") {
		t.Errorf("error is %v", err)
	}
}

func TestRunPrintsJSON(t *testing.T) {
	var out, errs bytes.Buffer
	args := []string{"-noop", "-rounds", "1", "-slices", "2", "-slice", "1ms", "-only", "getppid,pread", "-o", "json", "-tmpfs", "/dev/shm"}
	var st unix.Statfs_t
	if err := unix.Statfs(os.TempDir(), &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.EXT4_SUPER_MAGIC {
		// Where there is no ext4, the program says so.
		if err := run(t.Context(), append(args, "-ext4", os.TempDir()), &out, &errs); err == nil || !strings.Contains(err.Error(), "-ext4") {
			t.Errorf("error is %v", err)
		}
		return
	}
	if err := run(t.Context(), append(args, "-ext4", os.TempDir()), &out, &errs); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Rows[0].Operation != "getppid" || r.Rows[0].OnSlices != 2 || r.Rows[0].OnMin <= 0 {
		t.Errorf("report is %s", out.String())
	}
	if !strings.Contains(errs.String(), "round 1 of 1: agent on") {
		t.Errorf("progress is %s", errs.String())
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"-rounds 0":     "more than 0",
		"-o xml":        "not xml",
		"-noop agent":   "no agent",
		"agent":         "needs one of",
		"-ready-line x": "missing",
		"-what":         "not defined",
	} {
		var errs bytes.Buffer
		if _, err := parse(strings.Fields(args), &errs); !errors.Is(err, errUsage) || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: %v: %s", args, err, errs.String())
		}
	}
	if _, err := choose([]*operation{{name: "pread"}}, "breathing"); err == nil || !strings.Contains(err.Error(), `"breathing"; there are pread`) {
		t.Errorf("error is %v", err)
	}
}
