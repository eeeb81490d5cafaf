// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileAsyncActs write by Linux AIO (io_submit(2)).
func fileAsyncActs() []*Act {
	return []*Act{{
		Name: "aio", Group: GroupFile,
		Summary: "write 100 bytes by io_submit",
		needs:   []need{needAIO},
		run: onPrepared(block, unix.O_WRONLY, func(f *file) error {
			return ioWrite(f, fill(newByte, small))
		}),
	}, {
		Name: "aio-direct", Group: GroupFile,
		Summary: "write a block by io_submit with O_DIRECT, which completes outside of the process",
		needs:   []need{needAIO, needDirect},
		run: onPrepared(2*block, unix.O_WRONLY|unix.O_DIRECT, func(f *file) error {
			b, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				return f.failed("mmap", err)
			}
			copy(b, fill(newByte, block))
			if err := ioWrite(f, b); err != nil {
				return err
			}
			return f.failed("munmap", unix.Munmap(b))
		}),
	}}
}

// aioContext is aio_context_t of linux/aio_abi.h.
type aioContext uintptr

// iocb is struct iocb of linux/aio_abi.h on a little-endian machine.
type iocb struct {
	data      uint64
	key       uint32
	rwFlags   uint32
	opcode    uint16
	priority  int16
	fd        uint32
	buf       uint64
	nbytes    uint64
	offset    int64
	reserved2 uint64
	flags     uint32
	resfd     uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	data, obj  uint64
	res, other int64
}

const iocbCmdPwrite = 1

func ioSetup(events uintptr) (aioContext, error) {
	var ctx aioContext
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, events, uintptr(unsafe.Pointer(&ctx)), 0); errno != 0 {
		return 0, errno
	}
	return ctx, nil
}

func ioDestroy(ctx aioContext) error {
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, uintptr(ctx), 0, 0); errno != 0 {
		return fmt.Errorf("io_destroy: %w", errno)
	}
	return nil
}

// ioWrite writes b at the beginning of the file.
func ioWrite(f *file, b []byte) error {
	ctx, err := ioSetup(1)
	if err != nil {
		return f.failed("io_setup", err)
	}
	// The kernel knows the block and the buffer by their numbers: they must not lie on a stack.
	cb := &iocb{opcode: iocbCmdPwrite, fd: uint32(f.fd), buf: uint64(address(b)), nbytes: uint64(len(b))}
	list := []*iocb{cb}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, uintptr(ctx), 1, uintptr(unsafe.Pointer(&list[0]))); errno != 0 {
		return f.failed("io_submit", errno)
	}
	event := &ioEvent{}
	var n uintptr
	if err := uninterrupted(func() error {
		var errno unix.Errno
		if n, _, errno = unix.Syscall6(unix.SYS_IO_GETEVENTS, uintptr(ctx), 1, 1, uintptr(unsafe.Pointer(event)), 0, 0); errno != 0 {
			return errno
		}
		return nil
	}); err != nil {
		return f.failed("io_getevents", err)
	}
	if n != 1 {
		return f.failed("io_getevents", fmt.Errorf("%d events instead of 1", n))
	}
	if event.res < 0 {
		return f.failed("aio write", unix.Errno(-event.res))
	}
	if err := f.all("aio write", int(event.res), len(b), nil); err != nil {
		return err
	}
	return ioDestroy(ctx)
}
