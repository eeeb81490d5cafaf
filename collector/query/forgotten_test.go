// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// An answer about a time of which events were forgotten says so, also when the store is empty and when no time was named.
func TestForgottenIsSaid(t *testing.T) {
	c := start(t, nil)
	c.commit(runA, wrote(0, "/a"), wrote(600, "/b"))
	c.find(&spoorv1.Finding{Fingerprint: "f", Id: "f", Rule: "state.local", State: spoorv1.FindingState_FINDING_STATE_OPEN})
	forget := func(before time.Time) {
		t.Helper()
		if n, err := c.store.Forget(t.Context(), before); err != nil || n != 1 {
			t.Fatalf("forgot %d events (%v), want 1", n, err)
		}
	}
	const five = "events from before 2026-03-01 12:05:00 UTC were forgotten: events are kept for a limited time"
	forget(noon.Add(5 * time.Minute))
	for _, test := range []struct {
		name   string
		filter *spoorv1.EventFilter
		want   []string
	}{
		{"no time", &spoorv1.EventFilter{}, []string{five}},
		{"from before", &spoorv1.EventFilter{From: at(-60)}, []string{five}},
		{"within", &spoorv1.EventFilter{From: at(-60), To: at(30)}, []string{five}},
		{"after", &spoorv1.EventFilter{From: at(300)}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			gaps(t, ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: test.filter}).GetCompleteness(), test.want...)
		})
	}
	gaps(t, ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Newest: true, Limit: 1}).GetCompleteness(), five)
	gaps(t, ask(t, c.ListEdges, &spoorv1.ListEdgesRequest{From: at(0)}).GetCompleteness(), five)
	gaps(t, ask(t, c.GetStatus, &spoorv1.GetStatusRequest{}).GetCompleteness(), five)
	// Findings outlive their events, and each says itself what of its evidence is gone.
	gaps(t, ask(t, c.ListFindings, &spoorv1.ListFindingsRequest{}).GetCompleteness())

	forget(noon.Add(time.Hour))
	gaps(t, ask(t, c.ListEvents, &spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{From: at(600)}}).GetCompleteness(),
		"events from before 2026-03-01 13:00:00 UTC were forgotten")
}
