// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// watched runs an agent while do does something, and returns all that it told. told returns what it has told so far.
func watched(t *testing.T, do func(told func() []*spoorv1.Event)) []*spoorv1.Event {
	t.Helper()
	var mu sync.Mutex
	var events []*spoorv1.Event
	told := func() []*spoorv1.Event {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(events)
	}
	w, err := watch.Start(t.Context(), agent.Options{
		Tier: tier(), Interval: 100 * time.Millisecond, MemoryInterval: 200 * time.Millisecond, DrainTimeout: time.Minute,
	}, func(ev *spoorv1.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, ev)
	})
	if err != nil {
		t.Fatal(err)
	}
	do(told)
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
	return told()
}
