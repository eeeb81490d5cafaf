// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/recent"
	"github.com/spoor/spoor/agent/sensor"
)

// authors tells who flushes a file from who writes it. fsync(2) changes the inode, too, when the file system finds blocks for
// what another process has written; all that tells of it is a modification time from before. But a CPU that stood still
// leaves the same trace. So it takes both: an old time, and another process that is known to have written.
type authors struct {
	// Of the files that were written last, who did: bounded; of a file that is forgotten, who flushes it is told as one
	// who wrote it.
	last *recent.Map[sensor.Inode, author]
	// What may be a flush waits until all of the turn's writes are known.
	doubtful []sensor.Write
	// How many were flushes: nothing is missing for want of them.
	flushes uint64
}

// rememberedAuthors: flushes follow writes within seconds, by default half a minute at most (vm.dirty_expire_centisecs).
const rememberedAuthors = 8192

type author struct {
	who sensor.Who
	// The modification time that the writer left, Unix time in ns.
	modTime uint64
	// It is known to have written by more than that time, which is not its last word then: through a mapping, say.
	proven bool
}

func newAuthors(remembered int) *authors {
	return &authors{last: recent.New[sensor.Inode, author](remembered, 0)}
}

// flushAge is how much older than the change that it led to a modification time may be without a doubt: the kernel's
// clock for files moves in ticks of up to 10 ms, and ours was compared with it some time ago.
const flushAge = 50 * time.Millisecond

// doubts keeps w back when it may be a flush. seen is when it was seen first.
func (a *authors) doubts(w *sensor.Write, seen time.Time) bool {
	if !w.Data || w.Proven || seen.Sub(time.Unix(0, int64(w.ModTime))) <= flushAge { //nolint:gosec // this century
		return false
	}
	a.doubtful = append(a.doubtful, *w)
	return true
}

// wrote notes who wrote.
func (a *authors) wrote(w *sensor.Write) {
	if !w.Data {
		return
	}
	if before, ok := a.last.Get(w.Inode); ok && before.who == w.Who {
		before.modTime, before.proven = max(before.modTime, w.ModTime), before.proven || w.Proven
		a.last.Put(w.Inode, before)
		return
	}
	a.last.Put(w.Inode, author{w.Who, w.ModTime, w.Proven})
}

// settle hands to write what was in doubt and is no flush, the oldest first: of two that are in doubt the first one wrote.
func (a *authors) settle(write func(*sensor.Write)) {
	slices.SortFunc(a.doubtful, func(x, y sensor.Write) int { return cmp.Compare(x.First, y.First) })
	for i := range a.doubtful {
		w := &a.doubtful[i]
		if other, ok := a.last.Get(w.Inode); ok && other.who != w.Who && (other.proven || other.modTime >= w.ModTime) {
			a.flushes++
			continue
		}
		write(w)
	}
	a.doubtful = buffer.Cut(a.doubtful, 0)
}
