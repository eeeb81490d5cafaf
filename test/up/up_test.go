// SPDX-License-Identifier: Apache-2.0

// Package up_test looks at what `spoor up` says: at its start, at its end, and when it cannot start.
package up_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spoor/spoor/test/scene"
)

// `make build` leaves it here.
const spoor = "../../bin/spoor"

// patience bounds every wait; a virtual machine is slow.
const patience = 2 * time.Minute

// watched is a running `spoor up`.
type watched struct {
	*testing.T
	cmd  *exec.Cmd
	url  string
	out  *scene.Transcript
	done chan error
}

func start(t *testing.T, args ...string) *watched {
	t.Helper()
	w := &watched{T: t, out: &scene.Transcript{}, done: make(chan error, 1)}
	w.cmd = exec.Command(spoor, append([]string{"up", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.out
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("%v: `make build` builds it", err)
	}
	go func() { w.done <- w.cmd.Wait() }()
	t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			_ = w.cmd.Process.Kill()
			_ = <-w.done
		}
	})
	page := regexp.MustCompile(`web page +(http://[^/]+)/`)
	w.until("the address of the page", func() bool {
		if m := page.FindStringSubmatch(w.out.String()); m != nil {
			w.url = m[1]
		}
		return w.url != ""
	})
	return w
}

// until polls a condition.
func (w *watched) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-w.done:
			w.done <- err
			w.Fatalf("spoor up ended (%v) before %s:\n%s", err, what, w.out)
		default:
		}
		if time.Now().After(deadline) {
			w.Fatalf("never came: %s. spoor up says:\n%s", what, w.out)
		}
	}
}

// stop interrupts it, as Ctrl-C does, and returns all that it said.
func (w *watched) stop() string {
	w.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		w.Fatal(err)
	}
	select {
	case err := <-w.done:
		w.done <- err
		if err != nil {
			w.Errorf("interrupted, spoor up ended with %v:\n%s", err, w.out)
		}
	case <-time.After(patience):
		w.Fatalf("interrupted, spoor up does not end:\n%s", w.out)
	}
	return w.out.String()
}

// It says at its start what it can see and where to look, and at its end what it saw.
func TestUpSaysWhatItSees(t *testing.T) {
	w := start(t)
	for _, sensor := range []string{"process", "file", "socket"} {
		if !regexp.MustCompile(`(?m)^` + sensor + ` +(base|full) `).MatchString(w.out.String()) {
			t.Errorf("does not say the tier of the sensor %s:\n%s", sensor, w.out)
		}
	}
	w.until("a line about something that happens", func() bool {
		if err := exec.CommandContext(t.Context(), "/bin/sh", "-c", ":").Run(); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(w.out.String(), " started /")
	})
	said := w.stop()
	if !regexp.MustCompile(`(?m)^Watched for \S+: [\d,]+ events?, [\d,]+ process(es)? started, `).MatchString(said) {
		t.Errorf("does not say at its end what was seen:\n%s", said)
	}
}

// Two cannot have one port: the second says who has it, and leaves nothing behind.
func TestSecondUpSaysWhoHoldsThePort(t *testing.T) {
	w := start(t)
	data := filepath.Join(t.TempDir(), "second")
	cmd := exec.CommandContext(t.Context(), spoor, "up", "--listen", strings.TrimPrefix(w.url, "http://"), "--data", data)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want exit code 3", err)
	}
	for _, want := range []string{"is taken by spoor (process " + fmt.Sprint(w.cmd.Process.Pid) + ")", "--listen"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
	w.stop()
}

// Who may not load programs is told why and what would work, in one sentence.
func TestUpWithoutPrivileges(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binary := filepath.Join(t.TempDir(), "spoor")
	copyProgram(t, binary)
	cmd := exec.CommandContext(ctx, binary, "up")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want exit code 3", err)
	}
	if said := string(out); !strings.Contains(said, "this host cannot be watched: ") || !strings.Contains(said, "run as root (sudo)") || strings.Count(said, "\n") != 1 {
		t.Errorf("said %q", said)
	}
}

// copyProgram puts the program where everybody may execute it.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	data, err := os.ReadFile(spoor)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(to); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|fs.FileMode(0o001)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
