// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/spoor/spoor/agent/recent"
)

// remindAfter is how often something that goes on for long is told again.
const remindAfter = time.Hour

// reminder remembers when something was told last: bounded, and what is forgotten is told again.
type reminder[K comparable] struct{ told *recent.Map[K, time.Time] }

func newReminder[K comparable](size int) reminder[K] {
	return reminder[K]{recent.New[K, time.Time](size, remindAfter)}
}

// due says whether k is to be told (again), and takes it that it is.
func (r reminder[K]) due(now time.Time, k K) bool {
	if told, ok := r.told.Get(k); ok && now.Sub(told) < remindAfter {
		return false
	}
	r.told.Put(k, now)
	return true
}
