// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spoor/spoor/agent/sensor"
)

func TestAuthors(t *testing.T) {
	const second = uint64(time.Second)
	wrote := func(tgid uint32, first, modTime uint64, proven bool) sensor.Write {
		return sensor.Write{Who: sensor.Who{Tgid: tgid}, Inode: sensor.Inode{Number: 7}, Data: true, Proven: proven, First: first, ModTime: modTime}
	}
	for _, tc := range []struct {
		name    string
		turns   [][]sensor.Write
		want    string
		flushes uint64
	}{
		{"a write", [][]sensor.Write{{wrote(1, 5*second, 5*second, false)}}, "1", 0},
		{"a write on a CPU that stood still", [][]sensor.Write{{wrote(1, 6*second, 5*second, false)}}, "1", 0},
		{"and its next", [][]sensor.Write{{wrote(1, 6*second, 5*second, false)}, {wrote(1, 8*second, 7*second, false)}}, "1 1", 0},
		{"a flush of the same turn, read first", [][]sensor.Write{{wrote(2, 6*second, 5*second, false), wrote(1, 5*second, 5*second, false)}}, "1", 1},
		{"a flush later", [][]sensor.Write{{wrote(1, 5*second, 5*second, false)}, {wrote(2, 9*second, 5*second, false)}}, "1", 1},
		{"a flush after a mapping was written", [][]sensor.Write{{wrote(1, 5*second, 0, true)}, {wrote(2, 9*second, 5*second, false)}}, "1", 1},
		{"a flush of a write that stood still", [][]sensor.Write{{wrote(2, 7*second, 5*second, false), wrote(1, 6*second, 5*second, false)}}, "1", 1},
		{"a flush of what nobody was seen to write", [][]sensor.Write{{wrote(2, 9*second, 5*second, false)}}, "2", 0},
		{"a second writer that stood still", [][]sensor.Write{{wrote(1, 5*second, 5*second, false)}, {wrote(2, 9*second, 8*second, false)}}, "1 2", 0},
		{"attributes", [][]sensor.Write{{sensor.Write{Who: sensor.Who{Tgid: 3}, First: 9 * second}}}, "3", 0},
	} {
		a := newAuthors(8)
		var told []string
		tell := func(w *sensor.Write) {
			a.wrote(w)
			told = append(told, fmt.Sprint(w.Who.Tgid))
		}
		for _, turn := range tc.turns {
			for _, w := range turn {
				if !a.doubts(&w, time.Unix(0, int64(w.First))) {
					tell(&w)
				}
			}
			a.settle(tell)
		}
		if got := fmt.Sprint(told); got != "["+tc.want+"]" || a.flushes != tc.flushes {
			t.Errorf("%s: told of %v, %d flushes; want %s, %d", tc.name, told, a.flushes, tc.want, tc.flushes)
		}
		if !slices.Equal(a.doubtful, nil) {
			t.Errorf("%s: %d are still in doubt", tc.name, len(a.doubtful))
		}
	}
}
