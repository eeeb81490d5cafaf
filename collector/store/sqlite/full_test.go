// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/types/known/timestamppb"
	"zombiezen.com/go/sqlite"
)

// TestFull: a store without room takes nothing, loses nothing, and goes on when there is room again.
func TestFull(t *testing.T) {
	s := empty(t)
	// SQLite's own limit fails as a full disk does, with the same code at the same places.
	if err := pragmas(s.w.conn, "max_page_count=200"); err != nil {
		t.Fatal(err)
	}
	sequence, id := uint64(0), uint64(0)
	write := func() error {
		b := store.Batch{Run: store.Run{Node: "n", Epoch: "e"}, Sequence: sequence + 1, Received: time.Now()}
		for i := range uint64(100) {
			b.Events = append(b.Events, &spoorv1.Event{
				Id: id + i + 1, Sequence: id + i + 1, Epoch: "e", Node: "n", Kind: "file_write", Time: timestamppb.Now(),
				Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: fmt.Sprintf("/tmp/%d", id+i)}}},
			})
		}
		if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
			return err
		}
		sequence, id = sequence+1, id+100
		return nil
	}
	err := write()
	for ; err == nil; err = write() {
	}
	if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultFull || id == 0 {
		t.Fatalf("after %d events: %v, want that the store is full", id, err)
	}
	for range 3 {
		if write() == nil {
			t.Fatal("a full store took a batch")
		}
	}
	if err := pragmas(s.w.conn, "max_page_count=4000"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := write(); err != nil {
			t.Fatalf("with room again: %v", err)
		}
	}
	page, err := s.Events(t.Context(), store.EventQuery{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range page.Events {
		if ev.GetId() != uint64(i+1) || ev.GetFileWrite().GetFile().GetPath() != fmt.Sprintf("/tmp/%d", i) {
			t.Fatalf("event %d: %v", i, ev)
		}
	}
	if uint64(len(page.Events)) != id {
		t.Errorf("%d events are stored, %d were taken", len(page.Events), id)
	}
}
