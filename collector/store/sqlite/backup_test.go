// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// noon is when the events of these tests begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// flows is a batch of events, ten seconds apart, of which each second is a call.
func flows(sequence uint64, n int) store.Batch {
	b := store.Batch{Run: store.Run{Cluster: "c", Node: "n", Epoch: "e"}, Sequence: sequence, Received: noon}
	instance := &spoorv1.Instance{Id: "i", Workload: &spoorv1.Workload{Cluster: "c", Namespace: "shop", Kind: "Deployment", Name: "web"}}
	for i := range n {
		id := (sequence-1)*uint64(n) + uint64(i) + 1
		ev := &spoorv1.Event{
			Id: id, Sequence: id, Epoch: "e", Node: "n", Kind: "flow", Time: timestamppb.New(noon.Add(time.Duration(id) * 10 * time.Second)), Instance: instance,
			Fact: &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
				Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction(1 + id%2), Opened: 2,
				Local: &spoorv1.Endpoint{Address: "10.0.0.1", Port: 80}, Peer: &spoorv1.Endpoint{Address: fmt.Sprintf("10.0.1.%d", id%200), Port: 443},
			}},
		}
		if id%2 == 0 {
			ev.Kind, ev.Fact = "file_write", &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: fmt.Sprintf("/tmp/%d", id)}}}
		}
		b.Events = append(b.Events, ev)
	}
	return b
}

func write(t *testing.T, s *sqlite.Store, b store.Batch) {
	t.Helper()
	if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
		t.Fatal(err)
	}
}

// healthy checks a file, which must be well and have so many events.
func healthy(t *testing.T, path string, events int64) {
	t.Helper()
	report, err := sqlite.Check(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Events != events {
		t.Errorf("%s: %+v, want %d events and no problem", path, report, events)
	}
}

// A backup of a store that is being written is one moment of it: whole, of so many batches, and a store like the first.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, flows(1, 100))
	written := make(chan struct{})
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	wg.Go(func() {
		defer close(written)
		for sequence := uint64(2); ctx.Err() == nil && sequence < 40; sequence++ {
			if err := s.Write(ctx, &store.Write{Batches: []store.Batch{flows(sequence, 100)}}); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	var backups []*sqlite.Summary
	for i := range 3 {
		sum, err := sqlite.Backup(t.Context(), dir, filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", i)))
		if err != nil {
			t.Fatal(err)
		}
		backups = append(backups, sum)
	}
	stop()
	<-written
	wg.Wait()
	mustClose(t, s)
	for _, b := range backups {
		if b.Events%100 != 0 || b.Events == 0 {
			t.Errorf("the backup has %d events: batches have 100", b.Events)
		}
		healthy(t, b.Path, b.Events)
		if info, err := os.Stat(b.Path); err != nil || uint64(info.Size()) != b.Bytes || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v (%v), want %d bytes for the owner only", b.Path, info, err, b.Bytes)
		}
	}
	last := backups[len(backups)-1]
	into := filepath.Join(t.TempDir(), "restored")
	if _, err := sqlite.Restore(t.Context(), into, last.Path, false); err != nil {
		t.Fatal(err)
	}
	restored, original := open(t, into), open(t, dir)
	defer mustClose(t, restored)
	defer mustClose(t, original)
	query := store.EventQuery{Limit: int(last.Events)}
	got, err := restored.Events(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	want, err := original.Events(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Events {
		if !proto.Equal(got.Events[i], want.Events[i]) {
			t.Fatalf("event %d is restored as %v, was %v", i, got.Events[i], want.Events[i])
		}
	}
}

func TestBackupRefuses(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Backup(t.Context(), dir, filepath.Join(t.TempDir(), "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	mustClose(t, open(t, dir))
	if _, err := sqlite.Backup(t.Context(), dir, there); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), there) {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "precious" {
		t.Errorf("the file is now %q (%v)", text, err)
	}
	// One that ends early leaves nothing, and what a killed one has left is in nobody's way.
	file := filepath.Join(t.TempDir(), "b")
	for _, name := range []string{file + ".partial", file + ".partial-journal"} {
		if err := os.WriteFile(name, []byte("the beginning of a backup"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sqlite.Backup(ctx, dir, file); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) > 0 {
		t.Errorf("it left %v (%v)", left, err)
	}
	if _, err := sqlite.Backup(t.Context(), dir, file); err != nil {
		t.Error(err)
	}
	healthy(t, file, 0)
}

func TestRestoreRefuses(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "b")
	s := open(t, dir)
	write(t, s, flows(1, 100))
	if _, err := sqlite.Backup(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	write(t, s, flows(2, 100))
	if _, err := sqlite.Restore(t.Context(), dir, backup, true); err == nil || !strings.Contains(err.Error(), "another process has this store open") {
		t.Errorf("a store in use: %v", err)
	}
	if _, err := sqlite.Restore(t.Context(), t.TempDir(), filepath.Join(dir, sqlite.FileName), false); err == nil || !strings.Contains(err.Error(), "-wal holds a part of it") || !errors.Is(err, sqlite.ErrNotABackup) {
		t.Errorf("from a store in use: %v", err)
	}
	mustClose(t, s)
	if _, err := sqlite.Restore(t.Context(), dir, backup, false); !errors.Is(err, sqlite.ErrStoreExists) {
		t.Errorf("an existing store: %v", err)
	}
	// A backup that is damaged, of a newer version, or of something else replaces nothing.
	whole, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		script  string
		problem string
	}{
		"cut":    {content: whole[:len(whole)/2], problem: "it is damaged"},
		"other":  {content: nil, script: "CREATE TABLE t (x)", problem: "a database of something else"},
		"text":   {content: []byte(strings.Repeat("this is not a database\n", 100)), problem: "not a database"},
		"empty":  {content: nil, problem: "no store of Spoor"},
		"newer":  {content: whole, script: "INSERT INTO schema_version VALUES (999, '2030-01-01')", problem: "its schema is 999"},
		"absent": {problem: "no such file"},
	} {
		file := filepath.Join(t.TempDir(), name)
		if name != "absent" {
			if err := os.WriteFile(file, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.script != "" {
			change(t, file, c.script)
		}
		if _, err := sqlite.Restore(t.Context(), dir, file, true); err == nil || !strings.Contains(err.Error(), c.problem) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %q", name, err, c.problem)
		}
	}
	healthy(t, filepath.Join(dir, sqlite.FileName), 200)
	if left, err := filepath.Glob(filepath.Join(dir, "*.copying*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	// With leave the old store stays beside the new one, and a second time it is not lost.
	sum, err := sqlite.Restore(t.Context(), dir, backup, true)
	if err != nil || sum.Events != 100 {
		t.Fatalf("%+v, %v", sum, err)
	}
	healthy(t, filepath.Join(dir, sqlite.FileName), 100)
	healthy(t, filepath.Join(dir, sqlite.ReplacedName), 200)
	if _, err := sqlite.Restore(t.Context(), dir, backup, true); err == nil || !strings.Contains(err.Error(), "from an earlier restore") {
		t.Errorf("again: %v", err)
	}
}

// A restore that was interrupted while names change must be repeated: no collector may take what is there for a store.
func TestRestoreIsRepeated(t *testing.T) {
	for name, moved := range map[string]bool{"before the old store moved": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "b")
			s := open(t, dir)
			write(t, s, flows(1, 100))
			mustClose(t, s)
			if _, err := sqlite.Backup(t.Context(), dir, backup); err != nil {
				t.Fatal(err)
			}
			at := func(name string) string { return filepath.Join(dir, name) }
			if err := os.WriteFile(at(sqlite.FileName+".restoring"), []byte("whatever"), 0o600); err != nil {
				t.Fatal(err)
			}
			if moved {
				if err := os.Rename(at(sqlite.FileName), at(sqlite.ReplacedName)); err != nil {
					t.Fatal(err)
				}
			}
			if err := openError(t, dir); !strings.Contains(err.Error(), "spoor store restore --replace") {
				t.Errorf("opened with: %v", err)
			}
			if _, err := sqlite.Restore(t.Context(), dir, backup, false); !errors.Is(err, sqlite.ErrStoreExists) {
				t.Errorf("without being told: %v", err)
			}
			if _, err := sqlite.Restore(t.Context(), dir, backup, true); err != nil {
				t.Fatal(err)
			}
			healthy(t, at(sqlite.FileName), 100)
			healthy(t, at(sqlite.ReplacedName), 100)
			mustClose(t, open(t, dir))
		})
	}
}
