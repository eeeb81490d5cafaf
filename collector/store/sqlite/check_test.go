// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// closedStore returns the bytes of a store with 600 events of a hundred minutes, which nobody has open.
func closedStore(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for sequence := range uint64(6) {
		write(t, s, flows(sequence+1, 100))
	}
	mustClose(t, s)
	whole, err := os.ReadFile(filepath.Join(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func copyOf(t *testing.T, whole []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each damage is found, and by the check that should find it.
func TestCheckFindsDamage(t *testing.T) {
	whole := closedStore(t)
	healthy(t, copyOf(t, whole), 600)
	for name, c := range map[string]struct{ script, check, problem string }{
		"an event too many":    {"UPDATE meta SET value = value + 1 WHERE key = 'events'", "counts", "600 events are stored, 601 were counted"},
		"the highest id":       {"UPDATE meta SET value = 7 WHERE key = 'last_id'", "counts", "event 600 was given a number above the highest, 7"},
		"a minute":             {"DELETE FROM minute WHERE minute = (SELECT max(minute) FROM minute)", "index of time", "are not all found by their time"},
		"a file":               {"DELETE FROM file WHERE id = 5", "references", "1 rows of event name a file that is not there (file)"},
		"a roll-up":            {"UPDATE edge_hour SET flows = flows + 1 WHERE hour = (SELECT max(hour) FROM edge_hour)", "roll-ups", "the hour of 2026-03-01T13:00:00Z: "},
		"a roll-up's contents": {"UPDATE edge_hour SET opened = opened + 1 WHERE hour = (SELECT max(hour) FROM edge_hour)", "roll-ups", "or what they carried differs"},
		"a lost flow": {
			"DELETE FROM event WHERE id = 599; UPDATE meta SET value = value - 1 WHERE key = 'events'", "roll-ups", "the hour of 2026-03-01T13:00:00Z: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := copyOf(t, whole)
			change(t, path, c.script)
			report, err := sqlite.Check(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if report.OK() {
				t.Error("the report is well")
			}
			for _, checked := range report.Checks {
				said := strings.Join(checked.Problems, "\n")
				if checked.Name == c.check && !strings.Contains(said, c.problem) || checked.Name != c.check && said != "" {
					t.Errorf("%s says %q, want %q of %s alone", checked.Name, said, c.problem, c.check)
				}
			}
		})
	}
}

func TestCheckFindsBrokenPages(t *testing.T) {
	whole := closedStore(t)
	for i := len(whole) / 2; i < len(whole)/2+3*4096; i++ {
		whole[i] ^= 0x55
	}
	report, err := sqlite.Check(t.Context(), copyOf(t, whole))
	if err != nil {
		t.Fatal(err)
	}
	if report.OK() || len(report.Checks[0].Problems) == 0 {
		t.Errorf("three pages of noise: %+v", report)
	}
}

// Forgetting leaves nothing that a check would call damage, by age or by size.
func TestCheckAfterForgetting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	path := filepath.Join(dir, sqlite.FileName)
	for sequence := range uint64(18) {
		write(t, s, flows(sequence+1, 100))
	}
	if n, err := s.Forget(t.Context(), noon.Add(40*time.Minute)); err != nil || n == 0 {
		t.Fatalf("forgot %d (%v)", n, err)
	}
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	healthy(t, path, int64(stats.Events))
	if n, err := s.Shrink(t.Context(), int64(stats.Used/20*19)); err != nil || n == 0 {
		t.Fatalf("forgot %d (%v)", n, err)
	}
	write(t, s, flows(19, 100))
	if stats, err = s.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
	healthy(t, path, int64(stats.Events))
	mustClose(t, s)
}

func TestCheckRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := sqlite.Check(t.Context(), filepath.Join(dir, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	path := filepath.Join(dir, "other")
	change(t, path, "CREATE TABLE t (x)")
	if _, err := sqlite.Check(t.Context(), path); err == nil || !strings.Contains(err.Error(), "a database of something else") {
		t.Errorf("another database: %v", err)
	}
	mustClose(t, open(t, dir))
	path = filepath.Join(dir, sqlite.FileName)
	change(t, path, "INSERT INTO schema_version VALUES (999, '2030-01-01')")
	if _, err := sqlite.Check(t.Context(), path); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("a newer store: %v", err)
	}
}
