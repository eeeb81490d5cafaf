// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxTemp is how much people's statements may put into temporary files, for sorting and the like: SQLite has no limit for that, and
// what fills the disk of the store stops events from being taken.
const maxTemp = 1 << 30 // Store.maxTemp

// tempEvery is how often that is looked at. A disk takes some 100 MiB meanwhile.
const tempEvery = 200 * time.Millisecond

var errTemp = errors.New("too much in temporary files")

// boundTemp cancels, with errTemp, when this process has more in temporary files than it had, and more than limit, until ctx ends. The caller must
// wait for done after that.
func boundTemp(ctx context.Context, limit int64, cancel context.CancelCauseFunc) (done <-chan struct{}) {
	ended := make(chan struct{})
	before := tempBytes()
	go func() {
		defer close(ended)
		tick := time.NewTicker(tempEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if tempBytes()-before > limit {
					cancel(errTemp)
					return
				}
			}
		}
	}()
	return ended
}

// tempBytes is what files take that this process has open and that have no name any more, which is what SQLite's temporary ones are.
func tempBytes() int64 {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // without /proc the time limit is what is left
	}
	var sum int64
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		// One that was closed since is none.
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0 {
			sum += st.Blocks * 512
		}
	}
	return sum
}
