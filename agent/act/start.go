// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// envRole is the variable that makes Main take over: "act/role".
const envRole = "SPOOR_ACT"

// self is the running binary, also when its file has been replaced.
const self = "/proc/self/exe"

// channelFD is the descriptor of a process's channel; what else it inherits follows.
const channelFD = 3

// linger is how long a killed process's output is waited for.
const linger = 5 * time.Second

type startOptions struct {
	act, role string
	ownNetns  bool
	// files become descriptors 4, 5, ...
	files []*os.File
	// path is executed instead of the running binary, with args (without argv[0]).
	path string
	args []string
	dir  string
	// tied: the process is killed when the thread that starts it ends. Only for threads that live as long as their process.
	tied bool
}

// started is a process of an act, as seen by the one that started it.
type started struct {
	channel
	role   string
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	// failed: it has said why it could not do its part.
	failed bool
}

func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "channel"), os.NewFile(uintptr(fds[1]), "channel"), nil
}

// pipe returns the two ends of a pipe in blocking mode: system calls of a forked process cannot wait for the poller.
func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// startProcess starts one more process of an act. The caller must end it.
func startProcess(ctx context.Context, o startOptions) (*started, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }()
	path := o.path
	if path == "" {
		path = self
	}
	cmd := exec.CommandContext(ctx, path, o.args...)
	if o.path == "" {
		cmd.Args[0] = "spoor-act"
	}
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), envRole+"="+o.act+"/"+o.role)
	cmd.ExtraFiles = append([]*os.File{theirs}, o.files...)
	p := &started{channel: channel{ours}, role: o.role, cmd: cmd, stderr: &bytes.Buffer{}}
	cmd.Stderr = p.stderr
	cmd.WaitDelay = linger
	cmd.SysProcAttr = &unix.SysProcAttr{}
	if o.ownNetns {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	}
	if o.tied {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	} else {
		// A group of its own lets one signal end the act with everything that it started.
		cmd.SysProcAttr.Setpgid = true
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	}
	if err := cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", o.role, err)
	}
	return p, nil
}

func (p *started) pid() int { return p.cmd.Process.Pid }

// hear returns the process's next message; its failure and its death are errors.
func (p *started) hear() (message, error) {
	m, err := p.receive()
	switch {
	case errors.Is(err, io.EOF):
		return m, fmt.Errorf("%s ended before its part was done", p.role)
	case err != nil:
		return m, fmt.Errorf("%s: %w", p.role, err)
	case m.Err != "":
		p.failed = true
		return m, fmt.Errorf("%s: %s", p.role, m.Err)
	}
	return m, nil
}

// kill ends the process at once.
func (p *started) kill() {
	_ = p.cmd.Process.Kill()
	p.release()
	_ = p.cmd.Wait()
}

// release tells the process to end.
func (p *started) release() { _ = p.f.Close() }

// end releases the process and waits for it.
func (p *started) end() error {
	p.release()
	err := p.cmd.Wait()
	if err == nil || p.failed && p.cmd.ProcessState.ExitCode() == exitFailed {
		return nil
	}
	if text := strings.TrimSpace(p.stderr.String()); text != "" {
		return fmt.Errorf("%s: %w: %s", p.role, err, text)
	}
	return fmt.Errorf("%s: %w", p.role, err)
}
