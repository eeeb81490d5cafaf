// SPDX-License-Identifier: Apache-2.0

// Package up_test uses `spoor up` as somebody would who has just built it: starts it on this machine's kernel, does
// something, asks what was seen, stops it.
package up_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spoor/spoor/deploy/examples"
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
	out  *transcript
	done chan error
}

// transcript collects what a program writes.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func start(t *testing.T, args ...string) *watched {
	t.Helper()
	w := &watched{T: t, out: &transcript{}, done: make(chan error, 1)}
	w.cmd = exec.Command(spoor, append([]string{"up", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.out
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("%v: `make build` builds it", err)
	}
	go func() { w.done <- w.cmd.Wait() }()
	t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			_ = w.cmd.Process.Kill()
			<-w.done
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

// ask runs a command of spoor and returns what it prints and its exit code.
func (w *watched) ask(args ...string) (string, int) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), spoor, append(args, "--collector", w.url)...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		w.Fatal(err)
	}
	return string(out), 0
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

type event struct {
	Process struct {
		ExecID string `json:"exec_id"`
		Comm   string
		Args   []string
	}
	Instance  struct{ Workload struct{ Kind, Name string } }
	FileWrite struct{ File struct{ Path string } } `json:"file_write"`
}

func TestUpTellsWhatHappens(t *testing.T) {
	w := start(t)
	for _, sensor := range []string{"process", "file", "socket"} {
		if !regexp.MustCompile(`(?m)^` + sensor + ` +(base|full) `).MatchString(w.out.String()) {
			t.Errorf("does not say the tier of the sensor %s:\n%s", sensor, w.out)
		}
	}

	// A write, by a process that is gone when we ask.
	path := filepath.Join(t.TempDir(), "spoor-demo")
	if err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "echo hello > "+path).Run(); err != nil {
		t.Fatal(err)
	}
	var seen event
	w.until("the write of "+path, func() bool {
		out, _ := w.ask("events", "--kind", "file_write", "--path", path, "-o", "json")
		line, _, _ := strings.Cut(out, "\n")
		return line != "" && json.Unmarshal([]byte(line), &seen) == nil
	})
	if got := strings.Join(seen.Process.Args, " "); got != "/bin/sh -c echo hello > "+path {
		t.Errorf("%s was written by %q", path, got)
	}
	if seen.Instance.Workload.Kind == "" {
		t.Error("the write has no workload")
	}
	w.until("the write in the output of up", func() bool { return strings.Contains(w.out.String(), "wrote "+path) })

	// Its chain: the shell, and above it this test.
	tree, _ := w.ask("tree", seen.Process.ExecID)
	me, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(tree, "◀ asked for") || !strings.Contains(tree, strings.TrimSpace(string(me))+"[") {
		t.Errorf("the tree of the writing process is\n%s", tree)
	}

	// A listener and a call, both ours.
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	called := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
			err = errors.Join(err, conn.Close())
		}
		called <- err
	}()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "hello")
	if err := errors.Join(err, conn.Close(), <-called); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	w.until("the edge to port "+port, func() bool {
		out, _ := w.ask("edges")
		return regexp.MustCompile(`(?m) ` + port + ` +tcp .*both ends$`).MatchString(out)
	})
	if out, _ := w.ask("events", "--kind", "listen"); !strings.Contains(out, "listens on tcp 127.0.0.1:"+port) {
		t.Errorf("the listener was not seen:\n%s", out)
	}
	if out, code := w.ask("findings"); code != 0 {
		t.Errorf("without contracts there are findings:\n%s", out)
	}

	said := w.stop()
	if !regexp.MustCompile(`(?m)^Watched for \S+: [\d,]+ events of [\d,]+ processes, `).MatchString(said) {
		t.Errorf("does not say at its end what was seen:\n%s", said)
	}
}

// What deploy/examples/demo.yaml promises: two findings with evidence.
func TestUpJudgesByContracts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "contracts")
	if err := os.CopyFS(dir, examples.Files); err != nil {
		t.Fatal(err)
	}
	w := start(t, "--contracts", dir)
	demo := "/var/tmp/spoor-demo-" + fmt.Sprint(os.Getpid())
	if err := os.MkdirAll("/var/tmp", 0o1777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(demo) })
	if err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "echo hello > "+demo).Run(); err != nil {
		t.Fatal(err)
	}
	// Nobody listens there; the attempt counts.
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:8765"); err == nil {
		_ = conn.Close()
	}
	id := map[string]string{}
	w.until("a finding of each rule", func() bool {
		out, code := w.ask("findings", "-o", "json")
		for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
			var f struct{ ID, Rule string }
			if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
				t.Fatal(err)
			}
			id[f.Rule] = f.ID
		}
		return code == 1 && id["state.local"] != "" && id["flow.egress"] != ""
	})
	if out, _ := w.ask("findings", "show", id["state.local"]); !strings.Contains(out, "Evidence") || !strings.Contains(out, "wrote "+demo) {
		t.Errorf("the finding has no evidence:\n%s", out)
	}
	if out, _ := w.ask("findings", "show", id["flow.egress"]); !strings.Contains(out, "127.0.0.1:8765") {
		t.Errorf("the finding has no evidence:\n%s", out)
	}
	w.until("both findings in the output of up", func() bool {
		return strings.Contains(w.out.String(), "finding "+id["state.local"]) && strings.Contains(w.out.String(), "finding "+id["flow.egress"])
	})
	w.stop()
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
