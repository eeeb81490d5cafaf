// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// TestRangesByTheCollectorsClock: node b is two hours ahead, or behind. What it tells is asked for, found and shown by the collector's clock.
func TestRangesByTheCollectorsClock(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		c := start(t, nil)
		c.ahead[runB] = ahead
		for i := range 10 {
			c.commit(runA, wrote(10*i, "/a"))
			c.commit(runB, wrote(10*i+1, "/b"))
		}
		c.commit(runB, lost(45, "file", "map_full", 3))
		const want = "7 8 9 10 11 12"
		filter := &spoorv1.EventFilter{From: at(30), To: at(52), Kinds: []string{"file_write"}}
		all := ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: filter})
		if got := ids(all.GetEvents()); got != want {
			t.Errorf("%v ahead: events %q, want %q", ahead, got, want)
		}
		for i, ev := range all.GetEvents() {
			if corrected := ev.GetCorrectedTime(); i%2 == 0 && corrected != nil || i%2 == 1 && !corrected.AsTime().Equal(at(10*(i/2)+31).AsTime()) {
				t.Errorf("%v ahead: event %d is of %v, corrected to %v", ahead, ev.GetId(), ev.GetTime().AsTime(), corrected.AsTime())
			}
		}
		var paged []*spoorv1.Event
		for request := (&spoorv1.ListEventsRequest{Filter: filter, Limit: 4}); ; {
			page := ask(t, c.ListEvents, request)
			paged = append(paged, page.GetEvents()...)
			if !page.GetMore() {
				break
			}
			request.AfterId = paged[len(paged)-1].GetId()
		}
		if got := ids(paged); got != want {
			t.Errorf("%v ahead: events by pages %q, want %q", ahead, got, want)
		}
		newest := ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: filter, Limit: 2, Newest: true})
		if got := ids(newest.GetEvents()); got != "11 12" || !newest.GetMore() {
			t.Errorf("%v ahead: the newest two are %q, more: %v", ahead, got, newest.GetMore())
		}
		// What was lost in the time that a page covers is told with it, by the same clock; and that the clock is off.
		gone := "3 file facts lost (map_full: more happened at once than the kernel side keeps), the last at 2026-03-01 12:00:45 UTC"
		if told := strings.Join(all.GetCompleteness().GetGaps(), "\n"); !strings.Contains(told, gone) || !strings.Contains(told, "its clock is 2h0m0s") {
			t.Errorf("%v ahead: what is said to be missing is\n%s", ahead, told)
		}
		if told := newest.GetCompleteness().GetGaps(); slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "lost") }) {
			t.Errorf("%v ahead: beside events from 12:00:50 on is said what was lost before:\n%s", ahead, strings.Join(told, "\n"))
		}
		if got := ids(c.follow(&spoorv1.FollowEventsRequest{Filter: &spoorv1.EventFilter{From: at(72)}}).take(4)); got != "17 18 19 20" {
			t.Errorf("%v ahead: a stream from 72 s on has %q", ahead, got)
		}
		c.find(finding("aa11", isOpen, 2))
		for _, ev := range ask(t, c.GetFinding, &spoorv1.GetFindingRequest{Id: "aa11"}).GetEvidence() {
			if !ev.GetCorrectedTime().AsTime().Equal(at(1).AsTime()) {
				t.Errorf("%v ahead: the evidence is of %v", ahead, ev.GetCorrectedTime().AsTime())
			}
		}
	}
}
