// SPDX-License-Identifier: Apache-2.0

// Package selftest_test runs `spoor selftest` for real, as somebody does who has just installed it.
package selftest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spoor/spoor/agent/act"
)

// `make build` leaves it here.
const spoor = "../../bin/spoor"

// line is any of the lines that -o json prints.
type line struct {
	Sensor, Tier, Reason string
	Act, State, Why      string
	FileSystem           string `json:"file_system"`
	KernelRelease        string `json:"kernel_release"`
	OK                   *bool
}

// run returns what the command printed and its exit code.
func run(t *testing.T, credential *syscall.Credential, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), spoor, append([]string{"selftest"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), stderr.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), 0
}

func TestSelftest(t *testing.T) {
	dir := t.TempDir()
	out, errs, code := run(t, nil, "-o", "json", "--dir", dir)
	if code != 0 || errs != "" {
		t.Errorf("exit code %d: %s", code, errs)
	}
	states, tiers := map[string]string{}, map[string]string{}
	var last line
	for text := range strings.Lines(out) {
		last = line{}
		if err := json.Unmarshal([]byte(text), &last); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch {
		case last.Sensor != "":
			tiers[last.Sensor] = last.Tier
		case last.Act != "":
			states[last.Act] = last.State
			if last.State != "seen" && last.Why == "" {
				t.Errorf("%s is %s, and nobody says why", last.Act, last.State)
			}
			if last.State == "untold" || last.State == "wrong" || last.State == "failed" {
				t.Errorf("%s is %s: %s", last.Act, last.State, last.Why)
			}
		}
	}
	if last.OK == nil || !*last.OK || last.KernelRelease == "" {
		t.Errorf("the last line is no happy end: %s", out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	}
	for _, a := range act.All() {
		if states[a.Name] == "" {
			t.Errorf("nothing is said of act %s", a.Name)
		}
	}
	for _, name := range []string{"process", "file", "socket", "udp", "memory", "names"} {
		if tiers[name] == "" {
			t.Errorf("nothing is said of sensor %s", name)
		}
	}
	// What every kernel and file system shows.
	for _, name := range []string{"append", "tcp4", "exec-args", "fork"} {
		if states[name] != "seen" && states[name] != "sometimes" {
			t.Errorf("%s is %s", name, states[name])
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in its folder: %v, %v", left, err)
	}
}

// TestSensorLeftOut: what a sensor would have seen is missing, which is no fault of the host.
func TestSensorLeftOut(t *testing.T) {
	out, errs, code := run(t, nil, "--without", "names,memory,udp", "--dir", t.TempDir())
	if code != 0 || errs != "" {
		t.Errorf("exit code %d: %s\n%s", code, errs, out)
	}
	for _, want := range []string{"sensor names is off", "sensor memory is off", "This host sees all that its tiers promise."} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

func TestWithoutRoot(t *testing.T) {
	out, errs, code := run(t, &syscall.Credential{Uid: 65534, Gid: 65534})
	if code != 3 || out != "" || !strings.Contains(errs, "root") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}
