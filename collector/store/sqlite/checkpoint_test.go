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

// TestTheLogBeginsAnew: while one transaction comes after the other, the log is copied into the file, and used again.
func TestTheLogBeginsAnew(t *testing.T) {
	grown := func(at int) int64 {
		s := empty(t)
		s.checkpoint.at = at
		for sequence := uint64(1); sequence <= 200; sequence++ {
			b := store.Batch{Run: store.Run{Node: "n", Epoch: "e"}, Sequence: sequence, Received: time.Now()}
			for i := range uint64(50) {
				id := sequence*50 + i
				b.Events = append(b.Events, &spoorv1.Event{
					Id: id, Sequence: id, Epoch: "e", Node: "n", Kind: "file_write", Time: timestamppb.Now(),
					Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: fmt.Sprintf("/tmp/%d", id)}}},
				})
			}
			if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(s.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.Events(t.Context(), store.EventQuery{Limit: 20000})
		if err != nil || len(page.Events) != 10000 {
			t.Errorf("%d events are stored (%v), want 10000", len(page.Events), err)
		}
		return info.Size()
	}
	never, often := grown(1<<30), grown(100)
	if often > never/4 {
		t.Errorf("the log has %d bytes, and %d where it is never copied", often, never)
	}
}
