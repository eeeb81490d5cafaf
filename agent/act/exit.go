// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// exitActs begin and end processes.
func exitActs() []*Act {
	leaver := map[string]func(*stage) error{"leaver": leave}
	return []*Act{{
		Name: "fork", Group: GroupProcess,
		Summary: "fork a child that executes nothing and exits",
		run:     forkOnly,
	}, {
		Name: "exit-code", Group: GroupProcess,
		Summary: "end a process with an exit code",
		run:     ended(3, 0),
		roles:   leaver,
	}, {
		Name: "exit-killed", Group: GroupProcess,
		Summary: "kill a process with SIGKILL",
		run:     ended(0, unix.SIGKILL),
		roles:   leaver,
	}, {
		Name: "exit-terminated", Group: GroupProcess,
		Summary: "terminate a process with SIGTERM",
		run:     ended(0, unix.SIGTERM),
		roles:   leaver,
	}, {
		Name: "exit-leader-first", Group: GroupProcess,
		Summary: "end the leader's thread of a process, and the process later from another thread",
		run:     ended(7, 0),
		roles:   map[string]func(*stage) error{"leaver": leaveByThread},
	}, {
		Name: "pid-reuse", Group: GroupProcess,
		Summary: "end a process, and execute a program in another that gets the same id",
		needs:   []need{needCapability("CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN), needMemfd(true)},
		run:     reusePid,
	}}
}

func forkOnly(s *stage) error {
	child, err := s.fork()
	if err != nil {
		return err
	}
	if err := child.wait(); err != nil {
		return err
	}
	if err := child.end(); err != nil {
		return err
	}
	s.expect(Expectation{Kind: ProcessStart, Role: "child", Tgid: child.pid, Process: &Process{
		Cause: causeFork, ParentTgid: os.Getpid(),
	}})
	s.expect(Expectation{Kind: ProcessExit, Role: "child", Tgid: child.pid, Process: &Process{ParentTgid: os.Getpid()}})
	return nil
}

func reusePid(s *stage) error {
	if err := forkOnly(s); err != nil {
		return err
	}
	s.tgid = s.forks[0].pid
	if err := execMemfd(s); err != nil {
		return err
	}
	if second := s.forks[1].pid; second != s.tgid {
		return fmt.Errorf("the second process is %d and not %d", second, s.tgid)
	}
	return nil
}

// ended starts a process that ends with a code when it is told to, or that is sent a signal.
func ended(code int, signal syscall.Signal) func(*stage) error {
	return func(s *stage) error {
		p, err := s.spawn(startOptions{role: "leaver"})
		if err != nil {
			return err
		}
		if _, err := p.hear(); err != nil {
			p.kill()
			return err
		}
		if signal != 0 {
			err = p.cmd.Process.Signal(signal)
		} else {
			err = p.send(message{Number: int64(code)})
		}
		if err != nil {
			p.kill()
			return err
		}
		// What it returns is about the code and the signal, which are looked at below.
		_ = p.cmd.Wait()
		p.release()
		status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok {
			return fmt.Errorf("leaver: status of type %T", p.cmd.ProcessState.Sys())
		}
		got := Process{ParentTgid: os.Getpid()}
		if status.Signaled() {
			got.Signal = int(status.Signal())
		} else {
			got.ExitCode = status.ExitStatus()
		}
		if got.ExitCode != code || got.Signal != int(signal) {
			return fmt.Errorf("the process ended with code %d, signal %d instead of %d, %d: %s",
				got.ExitCode, got.Signal, code, int(signal), strings.TrimSpace(p.stderr.String()))
		}
		s.expect(Expectation{Kind: ProcessExit, Role: "leaver", Tgid: p.pid(), Process: &got})
		return nil
	}
}

// leave is the role of a process that ends as it is told.
func leave(s *stage) error {
	if err := s.tell(message{}); err != nil {
		return err
	}
	m, err := s.hear()
	if err != nil {
		return err
	}
	os.Exit(int(m.Number))
	return nil
}

// leaveByThread is the same for a process whose leader is gone before.
func leaveByThread(s *stage) error {
	if err := s.tell(message{}); err != nil {
		return err
	}
	m, err := s.hear()
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() {
		failed <- waitForZombie(fmt.Sprintf("/proc/self/task/%d/stat", os.Getpid()))
	}()
	go func() {
		if err := <-failed; err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitFailed)
		}
		os.Exit(int(m.Number))
	}()
	// exit(2) ends the calling thread only. Not a raw call: the scheduler must know that this thread runs no Go any more.
	_, _, errno := unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	return os.NewSyscallError("exit", errno)
}

func waitForZombie(stat string) error {
	for deadline := time.Now().Add(hung / 2); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(stat)
		if err != nil {
			return err
		}
		// The state follows the name, which is in parentheses.
		if i := strings.LastIndex(string(b), ") "); i >= 0 && b[i+2] == 'Z' {
			return nil
		}
	}
	return fmt.Errorf("%s: the leader's thread does not end", stat)
}
