// SPDX-License-Identifier: Apache-2.0

package ingest

import "sync"

// watch tells those who wait that something became durable.
type watch struct {
	mu      sync.Mutex
	changed chan struct{}
}

func newWatch() *watch { return &watch{changed: make(chan struct{})} }

func (w *watch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// Changed returns a channel that is closed when the next events are durable.
func (c *Committer) Changed() <-chan struct{} {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	return c.watch.changed
}
