// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"log/slog"
	"testing"

	"github.com/spoor/spoor/collector/store"
)

// TestReserved: who has a reserved reader has it while people's questions take all others.
func TestReserved(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), Readers: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := s.readers.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.readers.Put(c)
	}
	if err := s.Write(t.Context(), &store.Write{Runs: []store.Hello{{Run: store.Run{Node: "n", Epoch: "e"}}}}); err != nil {
		t.Fatal(err)
	}
	runs, err := s.Reserved().Runs(t.Context())
	if err != nil || len(runs) != 1 {
		t.Errorf("%d runs (%v), want 1", len(runs), err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
