// SPDX-License-Identifier: Apache-2.0

package act

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUringWorkerAmongSignals asks worker threads for writes while signals come in without a pause.
func TestUringWorkerAmongSignals(t *testing.T) {
	switch lacking, err := needUring(0, uringWrite)(""); {
	case err != nil:
		t.Fatal(err)
	case lacking != "":
		t.Skip(lacking)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, small), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(path, unix.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.close() }()

	var tid atomic.Int32
	var stop atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		for !stop.Load() {
			// The signal that the runtime sends itself, and takes no notice of.
			_ = unix.Tgkill(os.Getpid(), int(tid.Load()), unix.SIGURG)
		}
	})
	writes := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end) && !t.Failed(); writes++ {
		done := make(chan error)
		go func() {
			// A thread of its own, which ends with the goroutine, has no worker thread yet.
			runtime.LockOSThread()
			tid.Store(int32(unix.Gettid()))
			done <- uringWriter(0, uringSQEAsync)(f)
		}()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	group.Wait()
	t.Logf("%d writes", writes)
}
