// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/hostfs"
)

// stamp changes when a file does.
type stamp struct {
	inode uint64
	size  int64
	mtime unix.Timespec
	ctime unix.Timespec
}

func stampOf(p hostfs.Dir, name string) (stamp, error) {
	f, st, err := p.Open(name)
	if err != nil {
		return stamp{}, err
	}
	defer f.Close()
	return stamp{st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// settled returns the content of a file that nobody wrote while it was read; false also for one that is being written all the time.
func settled(p hostfs.Dir, name string) ([]byte, bool) {
	const tries = 5
	for range tries {
		before, err := stampOf(p, name)
		if err != nil {
			return nil, false
		}
		b, err := p.Read(name, maxFile)
		if err != nil {
			return nil, false
		}
		if after, err := stampOf(p, name); err == nil && after == before {
			return b, true
		}
	}
	return nil, false
}

// homeOf finds a user's home directory in the host's /etc/passwd (passwd(5)).
func homeOf(root, uid string) (hostfs.Dir, bool) {
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return hostfs.Dir{}, false
	}
	b, err := (hostfs.Dir{Path: root}).Read("etc/passwd", maxFile)
	if err != nil {
		return hostfs.Dir{}, false
	}
	home, ok := homeIn(string(b), uid)
	if !ok {
		return hostfs.Dir{}, false
	}
	owner := uint32(n)
	return hostfs.Dir{Path: filepath.Join(root, home), Owner: &owner}, true
}

func homeIn(passwd, uid string) (string, bool) {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) >= 7 && f[2] == uid && filepath.IsAbs(f[5]) {
			return filepath.Clean(f[5]), true
		}
	}
	return "", false
}
