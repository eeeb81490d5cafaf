// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileWriterActs write in the ordinary way, but not as the leader of the process that opened the file.
func fileWriterActs() []*Act {
	return []*Act{{
		Name: "writer-thread", Group: GroupFile,
		Summary: "append to a file from a thread that is not the leader of its process",
		run: onPrepared(block, unix.O_WRONLY|unix.O_APPEND, func(f *file) error {
			return inThread(func() error {
				if unix.Gettid() == unix.Getpid() {
					return f.failed("write", fmt.Errorf("the thread is the leader of its process"))
				}
				return f.write(fill(newByte, small))
			})
		}),
	}, {
		Name: "writer-forked", Group: GroupFile,
		Summary: "open a file, fork, and append to it in the child",
		run:     writerForked,
	}, {
		Name: "writer-passed", Group: GroupFile,
		Summary: "open a file and pass the descriptor over a Unix socket to a process that appends to it",
		roles:   map[string]func(*stage) error{"receiver": passedReceiver},
		run:     passedSender,
	}}
}

func writerForked(s *stage) error {
	path, err := s.prepare("file", block, clean)
	if err != nil {
		return err
	}
	f, err := openFile(path, unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		return err
	}
	b, err := s.pinned(fill(newByte, small))
	if err != nil {
		return err
	}
	child, err := s.fork(
		call{what: "write", nr: unix.SYS_WRITE, args: [6]uintptr{uintptr(f.fd), address(b), small}},
		call{what: "close", nr: unix.SYS_CLOSE, args: [6]uintptr{uintptr(f.fd)}},
	)
	if err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	if err := child.wait(); err != nil {
		return err
	}
	if err := f.all("write", int(child.value(1)), small, nil); err != nil {
		return err
	}
	written, err := identify(path)
	if err != nil {
		return err
	}
	written.SizeBefore = block
	s.expect(Expectation{Kind: FileWrite, Role: "child", Tgid: child.pid, File: written})
	s.forbid(Expectation{Kind: FileWrite, File: written})
	return nil
}

func passedSender(s *stage) error {
	path, err := s.prepare("file", block, clean)
	if err != nil {
		return err
	}
	f, err := openFile(path, unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		return err
	}
	if _, err := s.pass("receiver", f.fd); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	return s.notWritten(path)
}

func passedReceiver(s *stage) error {
	fd, err := s.receiveFD()
	if err != nil {
		return err
	}
	f := &file{fd, s.path("file")}
	if err := f.write(fill(newByte, small)); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	return s.wrote(f.path, block)
}

// pass starts a helper and gives it a descriptor over a Unix socket (SCM_RIGHTS).
func (s *stage) pass(role string, fd int) (*started, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }()
	h, err := s.helper(role, theirs)
	if err != nil {
		return nil, err
	}
	if err := unix.Sendmsg(int(ours.Fd()), []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return nil, fmt.Errorf("pass descriptor to %s: %w", role, err)
	}
	return h, ours.Close()
}

// receiveFD is the other side of pass.
func (s *stage) receiveFD() (int, error) {
	from := os.NewFile(channelFD+1, "descriptors")
	defer func() { _ = from.Close() }()
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(channelFD+1, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receive descriptor: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("receive descriptor: %d control messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("receive descriptor: %d of them: %w", len(fds), err)
	}
	return fds[0], nil
}
