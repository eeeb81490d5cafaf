// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// The variables that make the test binary back a store up into a folder, again and again.
const (
	backupDir  = "SPOOR_TEST_BACKUP"
	backupInto = "SPOOR_TEST_BACKUP_INTO"
)

func backUp(dir, into string) int {
	for n := 0; ; n++ {
		if _, err := sqlite.Backup(context.Background(), dir, filepath.Join(into, fmt.Sprintf("%d-%d.db", os.Getpid(), n))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

// TestBackupKilled kills backups with SIGKILL at random times while a collector in another process takes events. Whatever has the name
// of a backup is one: whole, and of one moment.
func TestBackupKilled(t *testing.T) {
	dir, into := stored(t, 3000, 1000), t.TempDir()
	centre := spawn(t, dir)
	var enough atomic.Bool
	var wg sync.WaitGroup
	a, s := newAgent("node0"), newStory("node0", "service0")
	wg.Go(func() {
		defer a.transport.CloseIdleConnections()
		long := s.process("daemon")
		err := a.ship(t.Context(), centre.url, func() *spoorv1.Batch {
			if enough.Load() {
				return nil
			}
			for range 20 {
				s.tell(long, calls(address(0), address(1), 80, uint32(10000+s.sequence%50000)))
			}
			return s.next()
		})
		if err != nil {
			t.Error(err)
		}
	})
	for range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), backupDir+"="+dir, backupInto+"="+into)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(300)) * time.Millisecond) // any time is as good as another: that is the test
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed, and says so
	}
	// One is let finish beside the collector, whatever the machine had time for before.
	if _, err := sqlite.Backup(t.Context(), dir, filepath.Join(into, "last.db")); err != nil {
		t.Error(err)
	}
	enough.Store(true)
	wg.Wait()
	centre.end(t)

	files, err := os.ReadDir(into)
	if err != nil {
		t.Fatal(err)
	}
	whole, partial := 0, 0
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".db.partial") {
			partial++
		}
		if !strings.HasSuffix(f.Name(), ".db") {
			continue
		}
		whole++
		report, err := sqlite.Check(t.Context(), filepath.Join(into, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// The store had 3000 events, and batches of 20 came.
		if !report.OK() || report.Events < 3000 || report.Events%20 != 0 {
			t.Errorf("%+v", report)
		}
	}
	t.Logf("%d backups are whole, %d were killed half-way", whole, partial)
}
