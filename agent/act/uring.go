// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uringOp is an operation of io_uring (IORING_OP_* of linux/io_uring.h).
type uringOp uint8

const (
	uringOpenat   uringOp = 18
	uringWrite    uringOp = 23
	uringRenameat uringOp = 35
	uringUnlinkat uringOp = 36
)

func (o uringOp) String() string {
	switch o {
	case uringOpenat:
		return "OPENAT"
	case uringWrite:
		return "WRITE"
	case uringRenameat:
		return "RENAMEAT"
	case uringUnlinkat:
		return "UNLINKAT"
	default:
		return fmt.Sprintf("%d", uint8(o))
	}
}

// The parts of linux/io_uring.h that one request at a time needs.
const (
	uringSetupSQPoll     = 1 << 1
	uringEnterGetEvents  = 1 << 0
	uringEnterWakeup     = 1 << 1
	uringSQNeedWakeup    = 1 << 0
	uringFeatSingleMmap  = 1 << 0
	uringSQEAsync        = 1 << 4
	uringRegisterProbe   = 8
	uringOffSQEs         = 0x10000000
	uringOpSupported     = 1 << 0
	uringSQEBytes        = 64
	uringCQEBytes        = 16
	uringPollIdleMillis  = 100
	uringProbedOperation = 256
	uringAttempts        = 64
)

type uringOffsets struct {
	head, tail, mask, entries uint32
	// SQ: flags, dropped, array. CQ: overflow, cqes, flags.
	a, b, c, reserved uint32
	userAddr          uint64
}

type uringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	reserved                                                               [3]uint32
	sq, cq                                                                 uringOffsets
}

// uringRequest is struct io_uring_sqe, with the names that our operations give to its unions.
type uringRequest struct {
	op       uringOp
	flags    uint8
	ioprio   uint16
	fd       int32
	off      uint64
	addr     uint64
	len      uint32
	opFlags  uint32
	userData uint64
	rest     [3]uint64
}

// uring is a ring for one request at a time.
type uring struct {
	fd     int
	params uringParams
	rings  []byte
	sqes   []byte
}

func newUring(flags uint32) (*uring, error) {
	r := &uring{params: uringParams{flags: flags, sqThreadIdle: uringPollIdleMillis}}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r.fd = int(fd)
	p := &r.params
	if p.features&uringFeatSingleMmap == 0 {
		r.close()
		return nil, fmt.Errorf("io_uring_setup: rings of two mappings: %w", unix.EOPNOTSUPP)
	}
	size := max(p.sq.c+p.sqEntries*4, p.cq.b+p.cqEntries*uringCQEBytes)
	var err error
	if r.rings, err = r.mmap(0, int(size)); err != nil {
		r.close()
		return nil, err
	}
	if r.sqes, err = r.mmap(uringOffSQEs, int(p.sqEntries*uringSQEBytes)); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *uring) mmap(offset int64, size int) ([]byte, error) {
	m, err := unix.Mmap(r.fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap io_uring: %w", err)
	}
	return m, nil
}

func (r *uring) close() {
	if r.sqes != nil {
		_ = unix.Munmap(r.sqes)
	}
	if r.rings != nil {
		_ = unix.Munmap(r.rings)
	}
	_ = unix.Close(r.fd)
}

func (r *uring) word(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }

// do makes one request and waits for its result, which is negative for an error as in the kernel.
func (r *uring) do(q uringRequest) (int32, error) {
	sq, cq := &r.params.sq, &r.params.cq
	tail := atomic.LoadUint32(r.word(sq.tail))
	index := tail & *r.word(sq.mask)
	*(*uringRequest)(unsafe.Pointer(&r.sqes[index*uringSQEBytes])) = q
	*r.word(sq.c + index*4) = index
	atomic.StoreUint32(r.word(sq.tail), tail+1)

	submit, flags := uintptr(1), uintptr(uringEnterGetEvents)
	if r.params.flags&uringSetupSQPoll != 0 {
		// The kernel's thread takes the request by itself, unless it sleeps.
		submit = 0
		if atomic.LoadUint32(r.word(sq.a))&uringSQNeedWakeup != 0 {
			flags |= uringEnterWakeup
		}
	}
	for atomic.LoadUint32(r.word(cq.tail)) == atomic.LoadUint32(r.word(cq.head)) {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), submit, 1, flags, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, fmt.Errorf("io_uring_enter: %w", errno)
		}
		submit = 0
	}
	head := atomic.LoadUint32(r.word(cq.head))
	slot := (head & *r.word(cq.mask)) * uringCQEBytes
	result := *(*int32)(unsafe.Pointer(&r.rings[cq.b+slot+8]))
	atomic.StoreUint32(r.word(cq.head), head+1)
	return result, nil
}

// probe says which operations the kernel has.
func (r *uring) probe() (map[uringOp]bool, error) {
	type operation struct {
		op, _ uint8
		flags uint16
		_     uint32
	}
	var p struct {
		last, count uint8
		_           uint16
		_           [3]uint32
		ops         [uringProbedOperation]operation
	}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), uringRegisterProbe,
		uintptr(unsafe.Pointer(&p)), uringProbedOperation, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	has := map[uringOp]bool{}
	for _, o := range p.ops[:p.count] {
		has[uringOp(o.op)] = o.flags&uringOpSupported != 0
	}
	return has, nil
}

// path is a name for a request.
type uringPath []byte

func newUringPath(name string) uringPath { return append([]byte(name), 0) }

func (p uringPath) addr() uint64 { return uint64(address(p)) }

// request makes one request and turns a negative result into an error. What the kernel gave up before it began is asked for
// again: a signal, as the Go runtime sends itself, ends the making of a worker thread (io_should_retry_thread, a few attempts
// since 6.1.103), and the request that waited for it (io_acct_cancel_pending_work).
func (r *uring) request(q uringRequest, path string, keep ...[]byte) (int32, error) {
	n, err := r.do(q)
	for range uringAttempts - 1 {
		if err != nil || n != -int32(unix.ECANCELED) {
			break
		}
		n, err = r.do(q)
	}
	runtime.KeepAlive(keep)
	if err == nil && n < 0 {
		err = unix.Errno(-n)
	}
	if err != nil {
		return 0, &os.PathError{Op: "io_uring " + q.op.String(), Path: path, Err: err}
	}
	return n, nil
}

func (r *uring) write(f *file, b []byte, flags uint8) error {
	n, err := r.request(uringRequest{
		op: uringWrite, flags: flags, fd: int32(f.fd), addr: uint64(address(b)), len: uint32(len(b)),
	}, f.path, b)
	if err != nil {
		return err
	}
	return f.all("io_uring WRITE", int(n), len(b), nil)
}

func (r *uring) open(path string, flags int) (*file, error) {
	p := newUringPath(path)
	fd, err := r.request(uringRequest{
		op: uringOpenat, fd: unix.AT_FDCWD, addr: p.addr(), len: 0o644, opFlags: uint32(flags | unix.O_CLOEXEC),
	}, path, p)
	if err != nil {
		return nil, err
	}
	return &file{int(fd), path}, nil
}

func (r *uring) rename(from, to string) error {
	a, b, cwd := newUringPath(from), newUringPath(to), int32(unix.AT_FDCWD)
	_, err := r.request(uringRequest{
		op: uringRenameat, fd: cwd, addr: a.addr(), len: uint32(cwd), off: b.addr(),
	}, from, a, b)
	return err
}

func (r *uring) unlink(path string) error {
	p := newUringPath(path)
	_, err := r.request(uringRequest{op: uringUnlinkat, fd: unix.AT_FDCWD, addr: p.addr()}, path, p)
	return err
}
