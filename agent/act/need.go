// SPDX-License-Identifier: Apache-2.0

package act

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// need looks whether something that an act depends on is there. It returns the reason why not, or "". It tries the very
// thing on files of its own below dir, and removes them.
type need func(dir string) (reason string, err error)

func (e Env) check() error {
	if !filepath.IsAbs(e.Dir) {
		return fmt.Errorf("the directory %q is not absolute: events carry absolute paths", e.Dir)
	}
	st, err := os.Stat(e.Dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", e.Dir)
	}
	return nil
}

// lacks turns an error into the reason why something is not there; an error that says something else is one of the probe.
func lacks(err error, what, who string) (string, error) {
	if err == nil {
		return "", nil
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return "", fmt.Errorf("probe %s: %w", what, err)
	}
	switch errno {
	case unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSYS, unix.ENOTTY, unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT,
		unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EADDRNOTAVAIL, unix.EISDIR, unix.EXDEV, unix.ENODEV:
		// By these a kernel or a file system says that it does not have something.
		return fmt.Sprintf("%s not supported by %s (%v)", what, who, errno), nil
	default:
		return "", fmt.Errorf("probe %s: %w", what, err)
	}
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "this kernel"
	}
	return "kernel " + unix.ByteSliceToString(u.Release[:])
}

func fsType(dir string) string {
	f, err := identify(dir)
	if err != nil {
		return "the file system of " + dir
	}
	return f.FSType
}

// onFiles calls try with two files of one page, opened for reading and writing.
func onFiles(dir, what string, try func(a, b *os.File) error) (_ string, err error) {
	tmp, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	page := fill(oldByte, os.Getpagesize())
	a, errA := os.Create(filepath.Join(tmp, "a"))
	b, errB := os.Create(filepath.Join(tmp, "b"))
	defer func() {
		_ = a.Close()
		_ = b.Close()
	}()
	if err := errors.Join(errA, errB); err != nil {
		return "", err
	}
	_, errA = a.Write(page)
	_, errB = b.Write(page)
	if err := errors.Join(errA, errB); err != nil {
		return "", err
	}
	return lacks(try(a, b), what, fsType(dir))
}

func needReflink(dir string) (string, error) {
	return onFiles(dir, "reflink", func(a, b *os.File) error {
		return unix.IoctlFileClone(int(b.Fd()), int(a.Fd()))
	})
}

func needCopyFileRange(dir string) (string, error) {
	return onFiles(dir, "copy_file_range", func(a, b *os.File) error {
		_, err := unix.CopyFileRange(int(a.Fd()), new(int64), int(b.Fd()), new(int64), 100, 0)
		return err
	})
}

func needFallocate(dir string) (string, error) {
	return onFiles(dir, "fallocate", func(a, _ *os.File) error {
		return fallocate(int(a.Fd()), 0, 0, int64(2*os.Getpagesize()))
	})
}

func needPunchHole(dir string) (string, error) {
	return onFiles(dir, "punching holes", func(a, _ *os.File) error {
		return fallocate(int(a.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(os.Getpagesize()))
	})
}

func needDirect(dir string) (string, error) {
	return onFiles(dir, "O_DIRECT", func(a, _ *os.File) error {
		return openAndClose(a.Name(), unix.O_RDWR|unix.O_DIRECT)
	})
}

func needExchange(dir string) (string, error) {
	return onFiles(dir, "RENAME_EXCHANGE", func(a, b *os.File) error {
		return unix.Renameat2(unix.AT_FDCWD, a.Name(), unix.AT_FDCWD, b.Name(), unix.RENAME_EXCHANGE)
	})
}

func needTmpfile(dir string) (string, error) {
	return onFiles(dir, "O_TMPFILE", func(a, _ *os.File) error {
		return openAndClose(filepath.Dir(a.Name()), unix.O_RDWR|unix.O_TMPFILE)
	})
}

func needXattr(dir string) (string, error) {
	return onFiles(dir, "extended attributes", func(a, _ *os.File) error {
		_, err := setAnyXattr(a.Name())
		return err
	})
}

func needSharedMapping(dir string) (string, error) {
	return onFiles(dir, "shared writable mappings", func(a, _ *os.File) error {
		m, err := unix.Mmap(int(a.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		return unix.Munmap(m)
	})
}

func openAndClose(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// needCapability is for acts that only a privileged process can do.
func needCapability(name string, number uint) need {
	return func(string) (string, error) {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			return "", fmt.Errorf("capget: %w", err)
		}
		if data[number/32].Effective&(1<<(number%32)) == 0 {
			return "this process does not have " + name, nil
		}
		return "", nil
	}
}

// needExecutable: what lies in the directory can be executed.
func needExecutable(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return dir + " is mounted noexec", nil
	}
	return "", nil
}

// needNetns: a network namespace can be made.
func needNetns(string) (string, error) {
	result := make(chan error)
	go func() {
		// The thread ends with the goroutine, and the namespace with it.
		runtime.LockOSThread()
		result <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	if err := <-result; err != nil {
		return fmt.Sprintf("a network namespace cannot be made (%v): it takes CAP_SYS_ADMIN", err), nil
	}
	return "", nil
}

// needSocket: a socket of the kind can be made.
func needSocket(what string, domain, kind, protocol int) need {
	return func(string) (string, error) {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return lacks(err, what, kernelRelease())
		}
		return "", unix.Close(fd)
	}
}

// needIPv6: the loopback address of IPv6 can be bound. (A new network namespace has it whenever the kernel has IPv6.)
func needIPv6(string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return lacks(err, "IPv6", kernelRelease())
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}); err != nil {
		return lacks(err, "IPv6 loopback", "this network namespace")
	}
	return "", nil
}

// needSysV: SysV shared memory is there.
func needSysV(string) (string, error) {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, os.Getpagesize(), unix.IPC_CREAT|0o600)
	if err != nil {
		return lacks(err, "SysV shared memory", kernelRelease())
	}
	_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	return "", err
}

// needMemfd: an anonymous file can be made, and executed where asked for.
func needMemfd(executable bool) need {
	return func(string) (string, error) {
		fd, err := unix.MemfdCreate("spoor-probe", unix.MFD_CLOEXEC)
		if err != nil {
			return lacks(err, "memfd", kernelRelease())
		}
		if err := unix.Close(fd); err != nil || !executable {
			return "", err
		}
		v, err := os.ReadFile("/proc/sys/vm/memfd_noexec")
		if err == nil && strings.TrimSpace(string(v)) != "0" {
			return "executing a memfd is forbidden: vm.memfd_noexec is " + strings.TrimSpace(string(v)), nil
		}
		return "", nil
	}
}

// needDir: a directory that programs agree upon exists.
func needDir(path string) need {
	return func(string) (string, error) {
		if st, err := os.Stat(path); err != nil || !st.IsDir() {
			return "there is no directory " + path, nil
		}
		return "", nil
	}
}

// needAIO: the kernel has Linux AIO.
func needAIO(string) (string, error) {
	ctx, err := ioSetup(1)
	if err != nil {
		return lacks(err, "AIO", kernelRelease())
	}
	return "", ioDestroy(ctx)
}

// needUring: io_uring is there, allowed to be set up with the flags, and has the operations.
func needUring(setup uint32, ops ...uringOp) need {
	return func(string) (string, error) {
		if v, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled"); err == nil && strings.TrimSpace(string(v)) == "2" {
			return "io_uring is disabled: kernel.io_uring_disabled is 2", nil
		}
		ring, err := newUring(setup)
		if err != nil {
			return lacks(err, "io_uring", kernelRelease())
		}
		defer ring.close()
		has, err := ring.probe()
		if err != nil {
			return lacks(err, "IORING_REGISTER_PROBE", kernelRelease())
		}
		for _, op := range ops {
			if !has[op] {
				return fmt.Sprintf("io_uring operation %v not supported by %s", op, kernelRelease()), nil
			}
		}
		return "", nil
	}
}
