// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is one system call of a forked process.
type call struct {
	what string
	nr   uintptr
	args [6]uintptr
	// from, when not 0, makes the first argument the result of the from-th call (the first is 1).
	from int
}

// answer is what a forked process's call returned, in memory that it shares with its parent.
type answer struct {
	made   uintptr
	value  uintptr
	errnum uintptr
}

// forked is a copy of this process that executes no program, as a pre-forking server makes them.
//
// Only the forking thread exists in the copy, so it must never need the Go scheduler, the heap or a bigger stack: it does
// nothing but the calls that it was given.
type forked struct {
	pid     int
	calls   []call
	answers []answer
	// ready yields a byte, or EOF when the process ended early.
	ready, keep *os.File
	// executes: the last call is an exec, which closes the ready pipe when it succeeds.
	executes bool
	waited   bool
	err      error
	ended    bool
	last     unix.WaitStatus
}

// maxCalls is what fits into one page of answers.
const maxCalls = 64

// fork starts a copy of this process that makes the calls one after the other, stops at the first that fails, and then
// stays until the act is over.
func (s *stage) fork(calls ...call) (*forked, error) {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	readyR, readyW, err := pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = readyW.Close() }()
	keepR, keepW, err := pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = keepR.Close() }()

	own := len(calls)
	// The last bytes of the page serve as the buffer of the pipes.
	buffer := uintptr(unsafe.Pointer(&page[len(page)-8]))
	all := []call{
		{what: "prctl", nr: unix.SYS_PRCTL, args: [6]uintptr{unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)}},
		{what: "close", nr: unix.SYS_CLOSE, args: [6]uintptr{keepW.Fd()}},
		{what: "close", nr: unix.SYS_CLOSE, args: [6]uintptr{channelFD}},
	}
	before := len(all)
	for _, c := range calls {
		if c.from != 0 {
			c.from += before
		}
		all = append(all, c)
	}
	all = append(all,
		call{what: "write", nr: unix.SYS_WRITE, args: [6]uintptr{readyW.Fd(), buffer, 1}},
		// Returns 0 when the parent closes its end.
		call{what: "read", nr: unix.SYS_READ, args: [6]uintptr{keepR.Fd(), buffer, 1}},
	)
	if len(all) > maxCalls {
		return nil, fmt.Errorf("fork: %d calls are more than %d", own, maxCalls-(len(all)-own))
	}
	answers := unsafe.Slice((*answer)(unsafe.Pointer(&page[0])), len(all))

	var clone *cloneArgs
	if s.tgid != 0 {
		tid := int32(s.tgid)
		clone = &cloneArgs{exitSignal: uint64(unix.SIGCHLD), setTid: uint64(uintptr(unsafe.Pointer(&tid))), setTidSize: 1}
		defer runtime.KeepAlive(&tid)
	}
	pid, errno := forkAndCall(all, answers, clone)
	runtime.KeepAlive(clone)
	runtime.KeepAlive(all)
	if errno != 0 {
		return nil, fmt.Errorf("fork: %w", errno)
	}
	f := &forked{
		pid: int(pid), calls: all[before : before+own], answers: answers[before : before+own], ready: readyR, keep: keepW,
	}
	s.forks = append(s.forks, f)
	return f, nil
}

// cloneArgs is the first version of struct clone_args of linux/sched.h that has set_tid.
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal uint64
	stack, stackSize, tls, setTid, setTidSize     uint64
}

// forkAndCall forks, by clone3 when that has arguments; the child makes the calls and exits with 0, or with 1 after the first that fails.
//
//go:norace
//go:nosplit
//go:noinline
func forkAndCall(calls []call, answers []answer, clone *cloneArgs) (uintptr, unix.Errno) {
	// A signal handler of the Go runtime must not run in the child.
	var all, old uint64
	all = ^uint64(0)
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(all), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	var pid uintptr
	if clone != nil {
		pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(clone)), unsafe.Sizeof(*clone), 0, 0, 0, 0)
	} else {
		pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
	if errno != 0 || pid != 0 {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
			uintptr(unsafe.Pointer(&old)), 0, unsafe.Sizeof(old), 0, 0)
		return pid, errno
	}
	var code uintptr
	for i := 0; i < len(calls) && i < len(answers) && code == 0; i++ {
		c := &calls[i]
		first := c.args[0]
		if c.from > 0 && c.from <= i {
			first = answers[c.from-1].value
		}
		value, _, errno := unix.RawSyscall6(c.nr, first, c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		answers[i].value, answers[i].errnum, answers[i].made = value, uintptr(errno), 1
		if errno != 0 {
			code = 1
		}
	}
	for {
		_, _, _ = unix.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}

// wait returns when all calls were made.
func (f *forked) wait() error {
	if f.waited {
		return f.err
	}
	f.waited = true
	var b [1]byte
	n, _ := f.ready.Read(b[:])
	if n == 1 {
		return nil
	}
	for i, a := range f.answers {
		if a.errnum != 0 {
			f.err = fmt.Errorf("forked process %d: %s: %w", f.pid, f.calls[i].what, unix.Errno(a.errnum))
			return f.err
		}
	}
	if !f.executes {
		f.err = fmt.Errorf("forked process %d ended before its calls were made", f.pid)
	}
	return f.err
}

// value is what the i-th call (the first is 1) returned.
func (f *forked) value(i int) int64 { return int64(f.answers[i-1].value) }

// end lets the process end and waits for it.
func (f *forked) end() error {
	status, err := f.status()
	if err != nil {
		return err
	}
	if f.err == nil && !f.executes && (!status.Exited() || status.ExitStatus() != 0) {
		return fmt.Errorf("forked process %d: status %#x", f.pid, uint32(status))
	}
	return nil
}

// status lets the process end, waits for it, and says how it did.
func (f *forked) status() (unix.WaitStatus, error) {
	if f.ended {
		return f.last, nil
	}
	f.ended = true
	_ = f.keep.Close()
	_ = f.ready.Close()
	for {
		_, err := unix.Wait4(f.pid, &f.last, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for forked process %d: %w", f.pid, err)
		}
		return f.last, nil
	}
}

// kill ends the process at once.
func (f *forked) kill() {
	_ = unix.Kill(f.pid, unix.SIGKILL)
	_ = f.end()
}

// enterCgroup returns the calls by which a forked process enters the cgroup of its role, if that has one.
func (s *stage) enterCgroup(role string) ([]call, error) {
	dir := s.cgroups[role]
	if dir == "" {
		return nil, nil
	}
	f, err := openFile(filepath.Join(dir, "cgroup.procs"), unix.O_WRONLY)
	if err != nil {
		return nil, err
	}
	s.cleanup(f.close)
	zero, err := s.pinned([]byte("0")) // whoever writes it
	if err != nil {
		return nil, err
	}
	return []call{{what: "enter cgroup", nr: unix.SYS_WRITE, args: [6]uintptr{uintptr(f.fd), address(zero), 1}}}, nil
}

// pinned is memory for the arguments of a forked process's calls: not on a stack, which may move, and shared with the
// child, so that what its calls store there can be read here.
func (s *stage) pinned(content []byte) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, max(len(content), 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	copy(b, content)
	return b, nil
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
