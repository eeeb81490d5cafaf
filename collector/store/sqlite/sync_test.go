// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/spoor/spoor/collector/store"
)

// TestALogThatCannotBeSynced: nobody knows what is on the disk then, so nothing more is taken, until somebody looks.
func TestALogThatCannotBeSynced(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := &store.Write{Runs: []store.Hello{{Run: store.Run{Node: "n", Epoch: "e"}}}}
	if err := s.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	synced := 0
	s.syncLog = func(f *os.File) error {
		synced++
		if !strings.HasSuffix(f.Name(), "-wal") {
			t.Errorf("%s was synced", f.Name())
		}
		return errors.New("input/output error")
	}
	durable, err := s.WriteAhead(t.Context(), w)
	if err != nil || synced != 0 {
		t.Fatalf("%v, synced %d times before somebody waits for it", err, synced)
	}
	if err := durable(); err == nil || synced != 1 {
		t.Errorf("durable: %v", err)
	}
	s.syncLog = syncFile
	if err := s.Write(t.Context(), w); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("after that a write says: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
