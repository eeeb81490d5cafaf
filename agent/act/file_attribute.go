// SPDX-License-Identifier: Apache-2.0

package act

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What the acts on attributes set.
const (
	newMode   = 0o640
	newOwner  = 12345
	xattrText = "spoor"
	// newTime is long ago: events must tell the kernel's time, not the file's.
	newTime = 1_000_000_000
)

// fileAttributeActs change an inode but not its content.
func fileAttributeActs() []*Act {
	return []*Act{{
		Name: "chmod", Group: GroupFile,
		Summary: "change the mode of a file",
		run:     attribute(func(path string) error { return unix.Chmod(path, newMode) }),
	}, {
		Name: "chown", Group: GroupFile,
		Summary: "change the owner of a file",
		needs:   []need{needCapability("CAP_CHOWN", unix.CAP_CHOWN)},
		run:     attribute(func(path string) error { return unix.Chown(path, newOwner, newOwner) }),
	}, {
		Name: "setxattr", Group: GroupFile,
		Summary: "set an extended attribute",
		needs:   []need{needXattr},
		run: attribute(func(path string) error {
			_, err := setAnyXattr(path)
			return err
		}),
	}, {
		Name: "utimes", Group: GroupFile,
		Summary: "set the times of a file to the year 2001",
		run: attribute(func(path string) error {
			then := unix.NsecToTimespec(newTime * int64(time.Second))
			return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{then, then}, 0)
		}),
	}}
}

func attribute(op func(path string) error) func(*stage) error {
	return func(s *stage) error {
		path, err := s.prepare("file", block, clean)
		if err != nil {
			return err
		}
		if err := op(path); err != nil {
			return &os.PathError{Op: s.act.Name, Path: path, Err: err}
		}
		return s.changed(opAttributes, path)
	}
}

// setAnyXattr sets an attribute of the first kind that the file system has, and returns its name: older tmpfs knows no user
// attributes, and only the privileged may set trusted ones.
func setAnyXattr(path string) (string, error) {
	var errs []error
	for _, name := range []string{"user.spoor", "trusted.spoor"} {
		err := unix.Setxattr(path, name, []byte(xattrText), 0)
		if err == nil {
			return name, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
