// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"

	"github.com/spoor/spoor/agent/sensor"
)

func TestWhoWritesMuchForgetsHisOwn(t *testing.T) {
	const room, quiet, loud = 100, 1, 2
	for name, path := range map[string]string{"many files": "/f", "long paths": "/" + strings.Repeat("x", writtenPaths/room/2)} {
		t.Run(name, func(t *testing.T) {
			went := map[sensor.Inode]bool{}
			files, err := newWrittenFiles(room, func(i sensor.Inode, _ *writtenFile) { went[i] = true })
			if err != nil {
				t.Fatal(err)
			}
			of := func(cgroup, n uint64) sensor.Inode { return sensor.Inode{Dev: uint32(cgroup), Number: n} }
			for n := range uint64(10) {
				files.put(of(quiet, n), &writtenFile{cgroup: quiet, path: "/f"})
			}
			var gone uint64
			const many = 5 * room
			for n := range uint64(many) {
				gone += files.put(of(loud, n), &writtenFile{cgroup: loud, path: path})
				gone += files.put(of(loud, n), &writtenFile{cgroup: loud, path: path}) // once more
			}
			for n := range uint64(10) {
				if !files.all.Contains(of(quiet, n)) {
					t.Errorf("file %d of the one that writes little is forgotten", n)
				}
			}
			if !files.all.Contains(of(loud, many-1)) || files.all.Contains(of(loud, 0)) {
				t.Error("of the one that writes much, it is not what he wrote last that is remembered")
			}
			if files.all.Len() > room || files.bytes > writtenPaths || gone != uint64(len(went)) || int(gone) != many+10-files.all.Len() {
				t.Errorf("%d files of %d bytes are remembered, %d went, and %d were told of", files.all.Len(), files.bytes, gone, len(went))
			}
			files.all.Purge()
			if files.bytes != 0 || len(files.of) != 0 {
				t.Errorf("when nothing is remembered, %d bytes of %d cgroups are", files.bytes, len(files.of))
			}
		})
	}
}

func TestManyWhoWriteLittleForgetTheOldest(t *testing.T) {
	const room = 100
	files, err := newWrittenFiles(room, func(sensor.Inode, *writtenFile) {})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(2 * room) {
		files.put(sensor.Inode{Number: n}, &writtenFile{cgroup: n})
	}
	if files.all.Len() != room || files.all.Contains(sensor.Inode{Number: 0}) || !files.all.Contains(sensor.Inode{Number: 2*room - 1}) {
		t.Errorf("%d are remembered, and not the last", files.all.Len())
	}
}
