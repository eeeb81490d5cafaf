// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"container/list"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/spoor/spoor/agent/sensor"
)

// Bytes of the paths of written files that are remembered: 8,192 files of a thousand bytes each.
const writtenPaths = 8 << 20

// writtenFiles remembers who wrote which file: those that were written last. Nobody has others forgotten by writing many files: who has a quarter
// of the room, or more, makes room for what he writes among his own.
type writtenFiles struct {
	all   *lru.LRU[sensor.Inode, *writtenFile]
	room  int
	bytes int
	// Those of each cgroup, the one that was written longest ago first.
	of map[uint64]*share
}

type share struct {
	files *list.List // of sensor.Inode
	bytes int
}

// newWrittenFiles returns an empty table; gone is told of each file that goes.
func newWrittenFiles(room int, gone func(sensor.Inode, *writtenFile)) (*writtenFiles, error) {
	t := &writtenFiles{room: room, of: map[uint64]*share{}}
	var err error
	t.all, err = lru.NewLRU(room+1, func(i sensor.Inode, f *writtenFile) {
		t.leave(f)
		gone(i, f)
	})
	if err != nil {
		return nil, fmt.Errorf("remember written files: %w", err)
	}
	return t, nil
}

func (f *writtenFile) bytes() int { return len(f.path) + len(f.hostPath) }

// put remembers f as what i is now, and returns how many files went for that.
func (t *writtenFiles) put(i sensor.Inode, f *writtenFile) (gone uint64) {
	if before, known := t.all.Peek(i); known {
		t.leave(before)
	}
	s := t.of[f.cgroup]
	if s == nil {
		s = &share{files: list.New()}
		t.of[f.cgroup] = s
	}
	f.place = s.files.PushBack(i)
	s.bytes += f.bytes()
	t.bytes += f.bytes()
	t.all.Add(i, f)
	for ; t.all.Len() > t.room || t.bytes > writtenPaths && t.all.Len() > 1; gone++ {
		if s.files.Len() > max(t.room/4, 1) || s.files.Len() > 1 && s.bytes > writtenPaths/4 {
			t.all.Remove(s.files.Front().Value.(sensor.Inode)) //nolint:forcetypeassert // there is nothing else in it
		} else {
			t.all.RemoveOldest()
		}
	}
	return gone
}

// leave takes a file out of those of its cgroup.
func (t *writtenFiles) leave(f *writtenFile) {
	s := t.of[f.cgroup]
	s.files.Remove(f.place)
	s.bytes -= f.bytes()
	t.bytes -= f.bytes()
	if s.files.Len() == 0 {
		delete(t.of, f.cgroup)
	}
}
