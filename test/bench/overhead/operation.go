// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/act"
)

// bytesMoved is how much the operations write and read.
const bytesMoved = 100

// operation is one thing to measure.
type operation struct {
	name string
	// do does it once.
	do func() error
	// reset, when set, undoes what a slice piles up; it is not measured.
	reset func() error
	close func() error
	// clock of the operation; CLOCK_MONOTONIC unless set.
	clock int32
	// processes: it takes more than the calling one.
	processes bool
}

// places are the directories in which files lie.
type places struct{ tmpfs, ext4 string }

// operations prepares all of them; those who are prepared when one fails are closed.
func operations(p places) (list []*operation, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(list))
		}
	}()
	for _, prepare := range []func(places) (*operation, error){
		overwrite, appendTo, pread, getppid, openClose, connect, connectReset, messageTCP, messageUDP, execute,
	} {
		op, err := prepare(p)
		if err != nil {
			return list, err
		}
		list = append(list, op)
	}
	return list, nil
}

func closeAll(list []*operation) error {
	var errs []error
	for _, op := range list {
		if op.close != nil {
			errs = append(errs, op.close())
		}
	}
	return errors.Join(errs...)
}

// call makes a raw system call: the scheduler is not told, so nothing but the kernel is measured.
func call(nr, a, b, c, d uintptr) (uintptr, error) {
	r, _, errno := unix.RawSyscall6(nr, a, b, c, d, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// memory that does not move and is not collected, for arguments that are kept as numbers.
func memory(content []byte) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	copy(m, content)
	return m, nil
}

// fileOperation prepares an operation on an open file that holds one block.
func fileOperation(name, dir string, flags int, nr uintptr, reset func(fd int) error) (*operation, error) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	buffer, err := memory(make([]byte, bytesMoved))
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	op := &operation{name: name, do: func() error {
		n, err := call(nr, uintptr(fd), address(buffer), bytesMoved, 0)
		if err != nil || n != bytesMoved {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		return nil
	}, close: func() error { return errors.Join(unix.Close(fd), unix.Munmap(buffer)) }}
	if reset != nil {
		op.reset = func() error { return reset(fd) }
	}
	return op, nil
}

func overwrite(p places) (*operation, error) {
	return fileOperation("overwrite", p.tmpfs, unix.O_WRONLY, unix.SYS_PWRITE64, nil)
}

func appendTo(p places) (*operation, error) {
	return fileOperation("append", p.ext4, unix.O_WRONLY|unix.O_APPEND, unix.SYS_WRITE, func(fd int) error {
		return os.NewSyscallError("ftruncate", unix.Ftruncate(fd, 0))
	})
}

func pread(p places) (*operation, error) {
	return fileOperation("pread", p.tmpfs, unix.O_RDONLY, unix.SYS_PREAD64, nil)
}

func getppid(places) (*operation, error) {
	return &operation{name: "getppid", do: func() error {
		_, err := call(unix.SYS_GETPPID, 0, 0, 0, 0)
		return err
	}}, nil
}

func openClose(p places) (*operation, error) {
	path := filepath.Join(p.tmpfs, "open")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	name, err := memory(append([]byte(path), 0))
	if err != nil {
		return nil, err
	}
	at := unix.AT_FDCWD
	return &operation{name: "open+close", do: func() error {
		fd, err := call(unix.SYS_OPENAT, uintptr(at), address(name), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		_, err = call(unix.SYS_CLOSE, fd, 0, 0, 0)
		return err
	}, close: func() error { return unix.Munmap(name) }}, nil
}

// connect calls a listening socket of its own over the loopback device. The server closes first, so that what stays in
// TIME_WAIT is the server's, which the next call from the same port takes over.
func connect(places) (*operation, error) { return connection("connect+accept+close", false) }

// connectReset leaves out the orderly end: the client closes without lingering. It is the shortest life of a connection,
// and thus the one that an observer makes the longest.
func connectReset(places) (*operation, error) { return connection("connect+accept+reset", true) }

func connection(what string, reset bool) (*operation, error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fail := func(what string, err error) (*operation, error) {
		return nil, errors.Join(os.NewSyscallError(what, err), unix.Close(listener))
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fail("bind", err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		return fail("listen", err)
	}
	// The kernel's own form of the address.
	name, err := memory(make([]byte, unix.SizeofSockaddrInet4+4))
	if err != nil {
		return fail("mmap", err)
	}
	*(*uint32)(unsafe.Pointer(&name[unix.SizeofSockaddrInet4])) = unix.SizeofSockaddrInet4
	if _, err := call(unix.SYS_GETSOCKNAME, uintptr(listener), address(name), address(name[unix.SizeofSockaddrInet4:]), 0); err != nil {
		return fail("getsockname", err)
	}
	linger, err := memory([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		return fail("mmap", err)
	}
	return &operation{name: what, do: func() error {
		client, err := call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if reset {
			if _, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, client, unix.SOL_SOCKET, unix.SO_LINGER, address(linger), 8, 0); errno != 0 {
				return os.NewSyscallError("setsockopt", errno)
			}
		}
		if _, err := call(unix.SYS_CONNECT, client, address(name), unix.SizeofSockaddrInet4, 0); err != nil {
			return os.NewSyscallError("connect", err)
		}
		server, err := call(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_CLOEXEC)
		if err != nil {
			return os.NewSyscallError("accept4", err)
		}
		if _, err := call(unix.SYS_CLOSE, server, 0, 0, 0); err != nil {
			return os.NewSyscallError("close", err)
		}
		_, err = call(unix.SYS_CLOSE, client, 0, 0, 0)
		return os.NewSyscallError("close", err)
	}, close: func() error { return errors.Join(unix.Close(listener), unix.Munmap(name), unix.Munmap(linger)) }}, nil
}

// execute forks, executes the smallest static program and waits for its end.
func execute(p places) (*operation, error) {
	program, err := act.Tiny(0)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(p.ext4, "tiny")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		return nil, err
	}
	name, err := memory(append([]byte(path), 0))
	if err != nil {
		return nil, err
	}
	// argv: the path and NULL; its second half is envp.
	arguments, err := memory(make([]byte, 4*unsafe.Sizeof(uintptr(0))))
	if err != nil {
		return nil, err
	}
	*(*uintptr)(unsafe.Pointer(&arguments[0])) = address(name)
	status, err := memory(make([]byte, 4))
	if err != nil {
		return nil, err
	}
	argv, envp := address(arguments), address(arguments[2*unsafe.Sizeof(uintptr(0)):])
	return &operation{name: "fork+exec+exit", processes: true, do: func() error {
		pid, errno := forkExec(address(name), argv, envp)
		if errno != 0 {
			return os.NewSyscallError("clone", errno)
		}
		if _, err := call(unix.SYS_WAIT4, pid, address(status), 0, 0); err != nil {
			return os.NewSyscallError("wait4", err)
		}
		if got := *(*uint32)(unsafe.Pointer(&status[0])); got != 0 {
			return fmt.Errorf("%s ended with status %#x", path, got)
		}
		return nil
	}, close: func() error { return errors.Join(unix.Munmap(name), unix.Munmap(arguments), unix.Munmap(status)) }}, nil
}

// forkExec forks and executes. Between the two the child must not need the Go runtime, of which only this thread is left.
//
//go:norace
//go:nosplit
//go:noinline
func forkExec(path, argv, envp uintptr) (uintptr, unix.Errno) {
	// A signal handler of the runtime must not run in the child; its program would inherit the mask and does not mind.
	var all, old uint64
	all = ^uint64(0)
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(all), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
			uintptr(unsafe.Pointer(&old)), 0, unsafe.Sizeof(old), 0, 0)
		return pid, errno
	}
	_, _, _ = unix.RawSyscall6(unix.SYS_EXECVE, path, argv, envp, 0, 0, 0)
	for {
		_, _, _ = unix.RawSyscall6(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0, 0)
	}
}

// timed does an operation n times and returns the nanoseconds of one.
func (op *operation) timed(n int) (float64, error) {
	clock := op.clock
	if clock == 0 {
		clock = unix.CLOCK_MONOTONIC
	}
	begin, err := now(clock)
	if err != nil {
		return 0, err
	}
	for range n {
		if err := op.do(); err != nil {
			return 0, fmt.Errorf("%s: %w", op.name, err)
		}
	}
	end, err := now(clock)
	if err != nil {
		return 0, err
	}
	if op.reset != nil {
		if err := op.reset(); err != nil {
			return 0, fmt.Errorf("%s: %w", op.name, err)
		}
	}
	return float64(end-begin) / float64(n), nil
}

func now(clock int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return t.Nano(), nil
}
