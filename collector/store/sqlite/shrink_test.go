// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"
	"os"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestShrinkGivesBack: the file becomes as small as the limit, though its pages are free in the middle.
func TestShrinkGivesBack(t *testing.T) {
	s := empty(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := uint64(0)
	// One event is of an agent whose clock is a day ahead: what comes after it goes all the same.
	for sequence := range uint64(20) {
		b := store.Batch{Run: store.Run{Node: "n", Epoch: "e"}, Sequence: sequence + 1, Received: at}
		for range 150 {
			id++
			ev := &spoorv1.Event{
				Id: id, Sequence: id, Epoch: "e", Node: "n", Kind: "file_write", Time: timestamppb.New(at),
				Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: fmt.Sprintf("/tmp/%d", id)}}},
			}
			if id == 10 {
				ev.Time = timestamppb.New(at.Add(24 * time.Hour))
			}
			b.Events = append(b.Events, ev)
		}
		at = at.Add(time.Minute)
		if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
			t.Fatal(err)
		}
	}
	limit := int64(3 << 17)
	n, err := s.Shrink(t.Context(), limit)
	if err != nil || n < 1000 {
		t.Fatalf("forgot %d events (%v)", n, err)
	}
	// The file follows when the log is copied into it.
	if err := pragmas(s.w.conn, "wal_checkpoint(truncate)"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > limit {
		t.Errorf("the file has %d bytes after it was shrunk to %d", info.Size(), limit)
	}
	page, err := s.Events(t.Context(), store.EventQuery{Limit: 3000, Period: store.Period{From: at.Add(-2 * time.Minute)}})
	if err != nil || len(page.Events) != 300 {
		t.Errorf("%d events of the last two minutes (%v), want 300", len(page.Events), err)
	}
}

func TestSlack(t *testing.T) {
	for _, test := range []struct {
		p    pages
		want int64
	}{
		{pages{size: 4096, all: 20000, free: 16384}, 0}, // 64 MiB are always allowed
		{pages{size: 4096, all: 20000, free: 16385}, 1},
		{pages{size: 4096, all: 1000000, free: 200000}, 0},
		{pages{size: 4096, all: 1000000, free: 300000}, 100000},
	} {
		if got := slack(test.p); max(got, 0) != test.want {
			t.Errorf("slack of %+v is %d, want %d", test.p, got, test.want)
		}
	}
}
