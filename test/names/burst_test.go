// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How many files one process makes and removes as fast as it can.
const burst = 3000

// many makes files with content in one directory, removes them, and leaves one.
func many(dir string) error {
	for i := range burst {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), []byte("content"), 0o600); err != nil {
			return err
		}
	}
	for i := range burst - 1 {
		if err := os.Remove(fmt.Sprintf("%s/%d", dir, i)); err != nil {
			return err
		}
	}
	return nil
}

// TestBurstIsSummedUp: an agent tells every change of a burst, but not each by an event of its own; and it tells the end of
// every file that it told of.
func TestBurstIsSummedUp(t *testing.T) {
	var mu sync.Mutex
	var events []*spoorv1.Event
	w, err := watch.Start(t.Context(), agent.Options{Interval: 100 * time.Millisecond, DrainTimeout: time.Minute}, func(ev *spoorv1.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, ev)
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := watchedDir(t)
	began := time.Now()
	tgid := do(t, "many", dir)
	took := time.Since(began)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	sums := map[spoorv1.FileChange_Operation]int{}
	created := 0                 // events
	alive := map[uint64]string{} // files that were told of, and not that they went
	for _, ev := range events {
		if ev.GetProcess().GetTgid() != tgid {
			continue
		}
		if c := ev.GetFileChange(); c != nil && strings.HasPrefix(c.GetFile().GetPath(), dir+"/") {
			sums[c.GetOperation()] += 1 + int(c.GetMerged())
			switch c.GetOperation() {
			case spoorv1.FileChange_OPERATION_CREATE:
				created++
				alive[c.GetFile().GetInode()] = c.GetFile().GetPath()
			case spoorv1.FileChange_OPERATION_UNLINK:
				delete(alive, c.GetFile().GetInode())
				if !c.GetFile().GetUnlinked() {
					t.Errorf("%s is said to have a name left", c.GetFile().GetPath())
				}
			}
		}
		if f := ev.GetFileWrite().GetFile(); f != nil && strings.HasPrefix(f.GetPath(), dir+"/") {
			alive[f.GetInode()] = f.GetPath()
			if f.GetUnlinked() {
				delete(alive, f.GetInode())
			}
		}
	}
	if made, removed := sums[spoorv1.FileChange_OPERATION_CREATE], sums[spoorv1.FileChange_OPERATION_UNLINK]; made != burst || removed != burst-1 {
		t.Errorf("%d made and %d removed are told, want %d and %d", made, removed, burst, burst-1)
	}
	// 64 a second, and what they are summed up to.
	if limit := 80 * (2 + int(took/time.Second)); created > limit {
		t.Errorf("%d events tell %d files that were made within %v, want %d at most", created, burst, took, limit)
	}
	// One is there, and perhaps an inode whose end is told together with others.
	for inode, path := range alive {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s (inode %d) was told of, but not that it is gone", path, inode)
		}
	}
}
