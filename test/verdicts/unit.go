// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
)

// patience bounds every wait for a program.
const patience = 30 * time.Second

// until polls a condition.
func until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, patience, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// life is one activation of a unit: a cgroup that is made for it and removed when it ends.
type life struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// begin starts a command as the first process of a unit.
func begin(unit string, argv, env []string, folder string, output io.Writer) (*life, error) {
	root, err := kernel.CgroupMount()
	if err != nil || root == "" {
		return nil, fmt.Errorf("no cgroup v2 hierarchy is mounted, which units are told apart by: %w", err)
	}
	l := &life{dir: filepath.Join(root, "system.slice", unit), done: make(chan struct{})}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(l.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	l.cmd = exec.Command(argv[0], argv[1:]...)
	l.cmd.Dir, l.cmd.Env, l.cmd.Stdout, l.cmd.Stderr = folder, env, output, output
	l.cmd.WaitDelay = time.Second // somebody may keep the pipe to the output
	l.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Setpgid: true}
	if err := l.cmd.Start(); err != nil {
		return nil, errors.Join(err, unix.Rmdir(l.dir))
	}
	go func() {
		_ = l.cmd.Wait() // with whatever status
		close(l.done)
	}()
	return l, nil
}

// end stops the unit as a service manager does: politely, then for good, and waits until nothing of it is left.
func (l *life) end(ctx context.Context) error {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.done:
	case <-time.After(patience):
	}
	if err := os.WriteFile(filepath.Join(l.dir, "cgroup.kill"), []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return until(context.WithoutCancel(ctx), "the unit's cgroup can be removed", func() bool { return unix.Rmdir(l.dir) == nil })
}
