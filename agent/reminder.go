// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
)

// remindAfter is how often something that goes on for long is told again.
const remindAfter = time.Hour

// reminder remembers when something was told last: bounded, and what is forgotten is told again.
type reminder[K comparable] struct{ told *lru.LRU[K, time.Time] }

func newReminder[K comparable](size int) (reminder[K], error) {
	told, err := lru.NewLRU[K, time.Time](size, nil)
	if err != nil {
		return reminder[K]{}, fmt.Errorf("remember what was told: %w", err)
	}
	return reminder[K]{told}, nil
}

// due says whether k is to be told (again), and takes it that it is.
func (r reminder[K]) due(now time.Time, k K) bool {
	if told, ok := r.told.Get(k); ok && now.Sub(told) < remindAfter {
		return false
	}
	r.told.Add(k, now)
	return true
}
