// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

func mustClose(t *testing.T, s *sqlite.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, path, script string) {
	t.Helper()
	c, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite|zombiezen.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sqlitex.ExecuteScript(c, script, nil), c.Close()); err != nil {
		t.Fatal(err)
	}
}

func openError(t *testing.T, dir string) error {
	t.Helper()
	s, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		mustClose(t, s)
		t.Fatal("the store was opened")
	}
	return err
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, open(t, dir))
	path := filepath.Join(dir, sqlite.FileName)
	change(t, path, "INSERT INTO schema_version VALUES (999, '2030-01-01')")
	err := openError(t, dir)
	if !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), "999") || !strings.Contains(err.Error(), path) {
		t.Errorf("error %q does not say which schema of which file", err)
	}
}

func TestForeignDatabaseIsRefusedUntouched(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, sqlite.FileName)
	change(t, path, "CREATE TABLE theirs (x)")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := openError(t, dir); !strings.Contains(err.Error(), "something else") {
		t.Errorf("error: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the file was changed")
	}
	if err := os.WriteFile(path, []byte("this is not a database, however long it may be made to be"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = openError(t, dir)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := openError(t, dir); !strings.Contains(err.Error(), "another process") {
		t.Errorf("error: %v", err)
	}
	mustClose(t, s)
	mustClose(t, open(t, dir))
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	s := open(t, dir)
	defer mustClose(t, s)
	if err := s.Write(t.Context(), &store.Write{Runs: []store.Hello{{Run: store.Run{Node: "n", Epoch: "e"}, Seen: time.Now()}}}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) < 3 {
		t.Fatalf("files %v (%v)", files, err)
	}
	for _, f := range append(files, dir) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", f, info.Mode())
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := sqlite.Open(sqlite.Options{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "Options.Dir") {
		t.Errorf("without a directory: %v", err)
	}
	if _, err := sqlite.Open(sqlite.Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "Options.Logger") {
		t.Errorf("without a logger: %v", err)
	}
}
