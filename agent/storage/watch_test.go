// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"os"
	"testing"
)

// A watch ends when it is told to, whether mounts change or not.
func TestWatchEnds(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Watch(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	r.hostProc = uint32(os.Getpid()) + 1<<30
	if err := r.Watch(t.Context()); err == nil {
		t.Error("the mounts of nobody are watched")
	}
}
