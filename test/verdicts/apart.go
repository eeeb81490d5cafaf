// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// apart gives a program a root of its own, as a container has, with one folder of the node in it: what it has there is the node's, and
// not its own.
func apart(p program) program {
	p.argv = append([]string{"/proc/self/exe", apartRole}, p.argv...)
	return p
}

// apartRole makes this program what a container's runtime is.
const apartRole = "apart"

// runApart makes the root and becomes the program. Nothing is executed in the new mount namespace before all is in place there, as with
// other runtimes: an agent takes what it finds at the first exec for what the container has.
func runApart(argv []string) error {
	if len(argv) == 0 {
		return errors.New("apart: no program")
	}
	runtime.LockOSThread() // until the exec, which ends all other threads
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("apart: %w", err)
	}
	const at, own = "/mnt", "/mnt/root"
	steps := []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("tmpfs", at, "tmpfs", 0, "") },
		func() error {
			return errors.Join(os.Mkdir(at+"/upper", 0o755), os.Mkdir(at+"/work", 0o755), os.Mkdir(own, 0o755))
		},
		func() error {
			return unix.Mount("overlay", own, "overlay", 0, "lowerdir=/,upperdir="+at+"/upper,workdir="+at+"/work")
		},
	}
	for _, shared := range []string{"/proc", "/dev", root} {
		steps = append(steps, func() error { return unix.Mount(shared, own+shared, "", unix.MS_BIND|unix.MS_REC, "") })
	}
	steps = append(steps,
		func() error { return unix.Chroot(own) },
		func() error { return unix.Chdir("/") },
		func() error { return syscall.Exec(argv[0], argv, os.Environ()) },
	)
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("apart, step %d: %w", i+1, err)
		}
	}
	return nil
}
