// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/storage"
)

// drained is a sensor that is read between two runs.
type drained struct {
	read  func() error
	close func() error
}

// watchers are what a file operation may have to pay for. Kernels that refuse fentry programs have those of the base tier.
func watchers() map[string]func(file string) (*drained, error) {
	options := func() (sensor.NamesOptions, error) {
		r, err := storage.New()
		if err != nil {
			return sensor.NamesOptions{}, err
		}
		tgid, ns := r.Host()
		return sensor.NamesOptions{HostTgid: tgid, HostNS: ns, Mounts: mountsOf}, nil
	}
	all := map[string]func(string) (*drained, error){
		"none": func(string) (*drained, error) {
			nothing := func() error { return nil }
			return &drained{nothing, nothing}, nil
		},
		"names-base": func(string) (*drained, error) {
			o, err := options()
			if err != nil {
				return nil, err
			}
			n, err := sensor.OpenNames(o)
			if err != nil {
				return nil, err
			}
			return &drained{func() error { return n.Read(func(*sensor.NameChange) {}) }, n.Close}, nil
		},
		"readback-base": func(file string) (*drained, error) { // a mark on another file of the file system
			r, err := sensor.OpenMarkedReadback()
			if err != nil {
				return nil, err
			}
			return &drained{func() error { return r.Read(func(*sensor.Reading) {}) }, r.Close}, markFile(r, file+".other")
		},
		"readback-base-marked": func(file string) (*drained, error) {
			r, err := sensor.OpenMarkedReadback()
			if err != nil {
				return nil, err
			}
			return &drained{func() error { return r.Read(func(*sensor.Reading) {}) }, r.Close}, markFile(r, file)
		},
	}
	if kernel.Fentry() != nil {
		return all
	}
	all["names-full"] = func(string) (*drained, error) {
		o, err := options()
		if err != nil {
			return nil, err
		}
		n, err := sensor.OpenExactNames(o, nil)
		if err != nil {
			return nil, err
		}
		return &drained{func() error { return n.Read(func(*sensor.NameChange) {}) }, n.Close}, nil
	}
	all["readback-full"] = func(string) (*drained, error) {
		r, err := sensor.OpenReadback(nil)
		if err != nil {
			return nil, err
		}
		return &drained{func() error { return r.Read(func(*sensor.Reading) {}) }, r.Close}, nil
	}
	return all
}

func markFile(r *sensor.MarkedReadback, file string) error {
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	return r.Watch(&sensor.WatchedFile{Inode: sensor.Inode{Number: st.Ino}, Path: file})
}

// BenchmarkWatched measures what operations on files cost under each sensor of names and readings. Under QEMU's -icount a
// nanosecond is an instruction.
func BenchmarkWatched(b *testing.B) {
	dir, err := os.MkdirTemp(os.Getenv("SPOOR_BENCH_DIR"), "spoor-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := dir + "/file"
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Close(fd) })
	buf := make([]byte, 100)
	open := func(flags int) func() error {
		return func() error {
			fd, err := unix.Open(file, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}
	}
	operations := []struct {
		name string
		do   func() error
	}{
		{"pread", func() error { _, err := unix.Pread(fd, buf, 0); return err }},
		{"overwrite", func() error { _, err := unix.Pwrite(fd, buf, 0); return err }},
		{"open-close", open(unix.O_RDONLY)},
		{"open-close-write", open(unix.O_WRONLY)},
		{"rename", func() error { return errors.Join(unix.Rename(file, dir+"/new"), unix.Rename(dir+"/new", file)) }},
		{"create-unlink", func() error { return errors.Join(touch(dir+"/made"), unix.Unlink(dir+"/made")) }},
		{"chmod", func() error { return unix.Fchmod(fd, 0o600) }},
	}
	for _, op := range operations {
		for name, watch := range watchers() {
			b.Run(op.name+"/"+name, func(b *testing.B) {
				d, err := watch(file)
				if err != nil {
					b.Fatal(err)
				}
				defer func() {
					if err := d.close(); err != nil {
						b.Error(err)
					}
				}()
				if err := d.read(); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if err := op.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
