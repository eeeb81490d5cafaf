// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestTimelineByOneClock: what a node told whose clock is ahead stands where it happened.
func TestTimelineByOneClock(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	event := func(path string, told time.Duration) *spoorv1.Event {
		return &spoorv1.Event{Kind: "file_write", Time: timestamppb.New(at.Add(told)), Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: &spoorv1.File{Path: path}}}}
	}
	ahead := event("/first", 90*time.Second)
	ahead.CorrectedTime = timestamppb.New(at)
	var out strings.Builder
	if err := Timeline(&out, Style{}, []*spoorv1.Event{event("/second", time.Second), ahead}, nil); err != nil {
		t.Fatal(err)
	}
	if first, second := strings.Index(out.String(), "/first"), strings.Index(out.String(), "/second"); first < 0 || second < first {
		t.Errorf("the timeline is\n%s", out.String())
	}
}
