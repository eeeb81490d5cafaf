// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

// sharedBytes is the size of the memory that the acts share.
const sharedBytes = 4 * block

// shmDir is where POSIX shared memory lives (shm_overview(7)).
const shmDir = "/dev/shm"

// memoryActs join two processes by memory that both write. The mappings stay until the act is over.
func memoryActs() []*Act {
	return []*Act{{
		Name: "sysv-shm", Group: GroupMemory, Lasting: true, Joins: true,
		Summary: "two processes attach one SysV shared memory segment",
		needs:   []need{needSysV},
		run:     sysvShm,
		roles: map[string]func(*stage) error{"other": otherMapping("sysv", func(s *stage, m message) ([]byte, error) {
			return unix.SysvShmAttach(int(m.Number), 0, 0)
		})},
	}, {
		Name: "posix-shm", Group: GroupMemory, Lasting: true, Joins: true,
		Summary: "two processes map one POSIX shared memory object by its name",
		needs:   []need{needDir(shmDir)},
		run:     posixShm,
		roles: map[string]func(*stage) error{"other": otherMapping("posix", func(s *stage, m message) ([]byte, error) {
			f, err := openFile(m.Text, unix.O_RDWR)
			if err != nil {
				return nil, err
			}
			return mapShared(f.fd)
		})},
	}, {
		Name: "memfd-passed", Group: GroupMemory, Lasting: true, Joins: true,
		Summary: "a process passes a memfd to another over a Unix socket, and both map it",
		needs:   []need{needMemfd(false)},
		run:     memfdPassed,
		roles: map[string]func(*stage) error{"other": otherMapping("memfd", func(s *stage, _ message) ([]byte, error) {
			fd, err := s.receiveFD()
			if err != nil {
				return nil, err
			}
			return mapShared(fd)
		})},
	}, {
		Name: "shared-anonymous", Group: GroupMemory, Lasting: true, Joins: true,
		Summary: "a process forks and shares anonymous memory with its child",
		run:     sharedAnonymous,
	}}
}

// mapShared maps the memory behind a descriptor and closes that: only the mapping is left.
func mapShared(fd int) ([]byte, error) {
	m, err := unix.Mmap(fd, 0, sharedBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return m, unix.Close(fd)
}

// join tells the other process how to find the memory and waits until both have stored to it: the actor to its
// beginning, the other behind that.
func (s *stage) join(what string, mine []byte, other *started, how message) error {
	copy(mine, fill(oldByte, small))
	if err := other.send(how); err != nil {
		return err
	}
	m, err := other.hear()
	if err != nil {
		return err
	}
	if !bytes.Equal(mine[small:2*small], fill(newByte, small)) {
		return fmt.Errorf("what %s stored to the shared memory is not there", other.role)
	}
	s.expect(Expectation{Kind: Sharing, Share: &Share{
		Kind: spoorv1.Share_KIND_MEMORY, OtherTgid: other.pid(), What: what, Object: m.File, Bytes: sharedBytes,
	}})
	return nil
}

func otherMapping(what string, attach func(*stage, message) ([]byte, error)) func(*stage) error {
	return func(s *stage) error {
		m, err := s.hear()
		if err != nil {
			return err
		}
		memory, err := attach(s, m)
		if err != nil {
			return fmt.Errorf("attach %s memory: %w", what, err)
		}
		if !bytes.Equal(memory[:small], fill(oldByte, small)) {
			return fmt.Errorf("what the actor stored to the shared memory is not there")
		}
		copy(memory[small:], fill(newByte, small))
		object, err := objectAt(memory)
		if err != nil {
			return err
		}
		s.expect(Expectation{Kind: Sharing, Share: &Share{
			Kind: spoorv1.Share_KIND_MEMORY, OtherTgid: os.Getppid(), What: what, Object: object, Bytes: sharedBytes,
		}})
		return s.tell(message{File: object})
	}
}

func sysvShm(s *stage) error {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, sharedBytes, unix.IPC_CREAT|0o600)
	if err != nil {
		return fmt.Errorf("shmget: %w", err)
	}
	s.cleanup(func() error {
		_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		return err
	})
	memory, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return fmt.Errorf("shmat: %w", err)
	}
	other, err := s.helper("other")
	if err != nil {
		return err
	}
	return s.join("sysv", memory, other, message{Number: int64(id)})
}

func posixShm(s *stage) error {
	f, err := openFile(shmDir+"/spoor-act-"+strconv.Itoa(os.Getpid()), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
	if err != nil {
		return err
	}
	s.cleanup(func() error { return unix.Unlink(f.path) })
	if err := unix.Ftruncate(f.fd, sharedBytes); err != nil {
		return f.failed("ftruncate", err)
	}
	memory, err := mapShared(f.fd)
	if err != nil {
		return err
	}
	other, err := s.helper("other")
	if err != nil {
		return err
	}
	return s.join("posix", memory, other, message{Text: f.path})
}

func memfdPassed(s *stage) error {
	fd, err := unix.MemfdCreate("spoor-act", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	if err := unix.Ftruncate(fd, sharedBytes); err != nil {
		return fmt.Errorf("ftruncate memfd: %w", err)
	}
	other, err := s.pass("other", fd)
	if err != nil {
		return err
	}
	memory, err := mapShared(fd)
	if err != nil {
		return err
	}
	return s.join("memfd", memory, other, message{})
}

func sharedAnonymous(s *stage) error {
	memory, err := unix.Mmap(-1, 0, sharedBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	copy(memory, fill(oldByte, small))
	// The child can make system calls only: it reads from a pipe into the memory.
	r, w, err := pipe()
	if err != nil {
		return err
	}
	if _, err := w.Write(fill(newByte, small)); err != nil {
		return err
	}
	calls, err := s.enterCgroup("child")
	if err != nil {
		return err
	}
	child, err := s.fork(append(calls,
		call{what: "read", nr: unix.SYS_READ, args: [6]uintptr{r.Fd(), address(memory[small:]), small}})...)
	if err != nil {
		return err
	}
	if err := child.wait(); err != nil {
		return err
	}
	if !bytes.Equal(memory[small:2*small], fill(newByte, small)) {
		return fmt.Errorf("what the child stored to the shared memory is not there")
	}
	object, err := objectAt(memory)
	if err != nil {
		return err
	}
	for _, e := range []Expectation{
		{Share: &Share{OtherTgid: child.pid}},
		{Tgid: child.pid, Role: "child", Share: &Share{OtherTgid: os.Getpid()}},
	} {
		e.Kind = Sharing
		e.Share.Kind, e.Share.What, e.Share.Object, e.Share.Bytes = spoorv1.Share_KIND_MEMORY, "anonymous", object, sharedBytes
		s.expect(e)
	}
	return nil
}

// objectAt says which file the kernel keeps the memory in, by proc_pid_maps(5): each kind of shared memory has one.
func objectAt(memory []byte) (*File, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	begin := strconv.FormatUint(uint64(address(memory)), 16) + "-"
	for line := range strings.Lines(string(maps)) {
		if !strings.HasPrefix(strings.TrimLeft(line, "0"), begin) {
			continue
		}
		fields := strings.Fields(line)
		var major, minor uint64
		if len(fields) < 5 {
			return nil, fmt.Errorf("maps: line %q has too few fields", line)
		}
		if _, err := fmt.Sscanf(fields[3], "%x:%x", &major, &minor); err != nil {
			return nil, fmt.Errorf("maps: line %q: device: %w", line, err)
		}
		inode, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("maps: line %q: inode: %w", line, err)
		}
		path, unlinked := strings.CutSuffix(strings.Join(fields[5:], " "), " (deleted)")
		return &File{
			Path: path, Dev: kernelDev(major, minor), Inode: inode, FSType: "tmpfs", Size: sharedBytes, Unlinked: unlinked,
		}, nil
	}
	return nil, fmt.Errorf("maps: no mapping begins at %s", begin)
}
