// SPDX-License-Identifier: Apache-2.0

package act

import (
	"os"

	"golang.org/x/sys/unix"
)

// namespaceActs do ordinary things from namespaces that their process entered after its start.
func namespaceActs() []*Act {
	inside := conversation{listen: loopback4(), call: loopback4(), inside: true}
	setns := inside.act("setns-connect", "enter the network namespace of a server and call it", needNetns)
	setns.Group = GroupProcess
	return []*Act{setns, {
		Name: "unshare-write", Group: GroupProcess,
		Summary: "unshare mount, UTS, IPC and network namespaces, and write a file",
		needs:   []need{needCapability("CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN)},
		run: func(s *stage) error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			return s.writeNew(s.path("file"))
		},
	}, {
		Name: "bind-write", Group: GroupProcess,
		Summary: "write a file through a bind mount in an own mount namespace",
		needs:   []need{needCapability("CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN)},
		run:     bindWrite,
	}}
}

func bindWrite(s *stage) error {
	source, target := s.path("source"), s.path("target")
	for _, dir := range []string{source, target} {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			return &os.PathError{Op: "mkdir", Path: dir, Err: err}
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Nobody else must see the mount.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &os.PathError{Op: "make private", Path: "/", Err: err}
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "bind", Path: target, Err: err}
	}
	return s.writeNew(target + "/file")
}
