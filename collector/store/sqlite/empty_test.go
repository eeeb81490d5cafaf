// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"log/slog"
	"testing"
)

// empty returns a new store, which is closed when the test ends.
func empty(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
