// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

const (
	causeFork = spoorv1.ProcessStart_CAUSE_FORK
	causeExec = spoorv1.ProcessStart_CAUSE_EXEC

	// tinyExit is the exit code of the tiny programs that acts execute.
	tinyExit = 42
	// shebangMax is the longest first line of a script that the kernel reads, without "#!" and what follows the name (BINPRM_BUF_SIZE).
	shebangMax = 240
)

// execActs execute programs. The program is the running binary in another role, unless said otherwise.
func execActs() []*Act {
	images := map[string]func(*stage) error{"image": image}
	return []*Act{{
		Name: "exec-args", Group: GroupProcess,
		Summary: "execute a program with arguments, some of them odd",
		run:     executed(func(*stage) []string { return []string{"one", "two words", "", "a\nb", "\xff\xfe"} }),
		roles:   images,
	}, {
		Name: "exec-long", Group: GroupProcess,
		Summary: "execute a program with 200 KiB of arguments",
		run: executed(func(*stage) []string {
			args := []string{strings.Repeat("x", 100<<10)}
			for i := range 1000 {
				args = append(args, fmt.Sprintf("%04d%s", i, strings.Repeat("y", 96)))
			}
			return args
		}),
		roles: images,
	}, {
		Name: "exec-script", Group: GroupProcess,
		Summary: "execute a script, which the kernel turns into its interpreter with arguments",
		needs:   []need{needExecutable, needInterpreter},
		run:     execScript,
		roles:   images,
	}, {
		Name: "exec-thread", Group: GroupProcess,
		Summary: "execute a program from a thread that is not the leader, which takes the leader's id",
		run:     execThread,
		roles:   map[string]func(*stage) error{"image": image, "before": execBefore},
	}, {
		Name: "exec-memfd", Group: GroupProcess,
		Summary: "execute a program that exists in memory only (execveat of a memfd)",
		needs:   []need{needMemfd(true)},
		run:     execMemfd,
	}, {
		Name: "exec-written", Group: GroupProcess,
		Summary: "write a program to a file and execute it",
		needs:   []need{needExecutable},
		run:     execWritten,
	}}
}

// image is the role of a program that was executed: it says so itself, since it knows best.
func image(s *stage) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find working directory: %w", err)
	}
	s.expect(Expectation{Kind: ProcessStart, Process: &Process{
		Cause: causeExec, ParentTgid: os.Getppid(), Exe: exe, Args: os.Args, Cwd: cwd,
	}})
	return nil
}

func executed(args func(*stage) []string) func(*stage) error {
	return func(s *stage) error {
		_, err := s.helperWith(startOptions{role: "image", args: args(s), dir: s.dir})
		return err
	}
}

func needInterpreter(string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own executable: %w", err)
	}
	if _, err := os.Stat(exe); err != nil {
		return "the running binary's file is gone, and it would be the script's interpreter", nil
	}
	if len(exe) > shebangMax || strings.ContainsAny(exe, " \t\n") {
		return fmt.Sprintf("%q cannot stand in the first line of a script", exe), nil
	}
	return "", nil
}

func execScript(s *stage) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	script := s.path("script")
	if err := os.WriteFile(script, []byte("#!"+exe+" option of the script\n"), 0o755); err != nil {
		return err
	}
	_, err = s.helperWith(startOptions{role: "image", path: script, args: []string{"argument"}, dir: s.dir})
	return err
}

func execThread(s *stage) error {
	h, err := s.helper("before")
	if err != nil {
		return err
	}
	// The first image takes the first configuration, the second the second.
	return h.send(message{Config: &config{Dir: s.dir, Cgroups: s.cgroups}})
}

// execBefore is the image that executes the next one.
func execBefore(s *stage) error {
	if _, err := unix.FcntlInt(channelFD, unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("keep channel over exec: %w", err)
	}
	// Set, not appended: of two variables with one name the first counts.
	if err := os.Setenv(envRole, s.act.Name+"/image"); err != nil {
		return fmt.Errorf("set %s: %w", envRole, err)
	}
	return inThread(func() error {
		if unix.Gettid() == unix.Getpid() {
			return fmt.Errorf("the thread is the leader of its process")
		}
		return os.NewSyscallError("execve", unix.Exec(self, []string{"spoor-act", "after"}, os.Environ()))
	})
}

func execMemfd(s *stage) error {
	program, err := Tiny(tinyExit)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("spoor-act", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	if err := writeAll(fd, program); err != nil {
		return fmt.Errorf("write memfd: %w", err)
	}
	exe, err := os.Readlink(procFD(fd))
	if err != nil {
		return err
	}
	return s.execTiny(exe, fd, "")
}

func execWritten(s *stage) error {
	program, err := Tiny(tinyExit)
	if err != nil {
		return err
	}
	path := s.path("program")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		return err
	}
	if err := s.changed(opCreate, path); err != nil {
		return err
	}
	if err := s.wrote(path, 0); err != nil {
		return err
	}
	exe, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return s.execTiny(exe, unix.AT_FDCWD, path)
}

// execTiny forks and executes a tiny program by execveat(fd, path), which may be empty, and waits for its end.
func (s *stage) execTiny(exe string, fd int, path string) error {
	args := []string{"tiny", "from", "memory"}
	if path != "" {
		args = []string{path, "from", "file"}
	}
	name, err := s.pinned(append([]byte(path), 0))
	if err != nil {
		return err
	}
	list, err := s.pinnedStrings(args)
	if err != nil {
		return err
	}
	environment, err := s.pinnedStrings(nil)
	if err != nil {
		return err
	}
	child, err := s.fork(call{what: "execveat", nr: unix.SYS_EXECVEAT, args: [6]uintptr{
		uintptr(fd), address(name), address(list), address(environment), unix.AT_EMPTY_PATH,
	}})
	if err != nil {
		return err
	}
	child.executes = true
	if err := child.wait(); err != nil {
		return err
	}
	status, err := child.status()
	if err != nil {
		return err
	}
	if !status.Exited() || status.ExitStatus() != tinyExit {
		return fmt.Errorf("the program ended with status %#x instead of exit code %d", uint32(status), tinyExit)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find working directory: %w", err)
	}
	s.expect(Expectation{Kind: ProcessStart, Role: "program", Tgid: child.pid, Process: &Process{
		Cause: causeExec, ParentTgid: os.Getpid(), Exe: exe, Args: args, Cwd: cwd,
	}})
	s.expect(Expectation{Kind: ProcessExit, Role: "program", Tgid: child.pid, Process: &Process{
		ParentTgid: os.Getpid(), ExitCode: tinyExit,
	}})
	return nil
}

// pinnedStrings lays out a list of strings as exec wants it.
func (s *stage) pinnedStrings(list []string) ([]byte, error) {
	text, err := s.pinned([]byte(strings.Join(list, "\x00") + "\x00"))
	if err != nil {
		return nil, err
	}
	const word = int(unsafe.Sizeof(uintptr(0)))
	pointers, err := s.pinned(make([]byte, (len(list)+1)*word))
	if err != nil {
		return nil, err
	}
	at := address(text)
	for i, v := range list {
		*(*uintptr)(unsafe.Pointer(&pointers[i*word])) = at
		at += uintptr(len(v) + 1)
	}
	runtime.KeepAlive(text)
	return pointers, nil
}
