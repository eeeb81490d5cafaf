// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
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

// The kernel says once that the host's mounts changed, perhaps when a process is looked at that is gone.
func TestMountsOfTheHostAreReadForAProcessThatIsGone(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.watch.close(), unix.Close(ends[0])); err != nil { // a pipe without a reader: always an exception
		t.Fatal(err)
	}
	r.watch = &watch{ends[1]}
	t.Cleanup(func() { _ = r.Close() })
	r.tables.Add(r.hostNS, &table{})
	const nobody = 1 << 30
	r.Learn(r.hostNS, nobody)
	if host, _ := r.tables.Get(r.hostNS); len(host.mounts) == 0 {
		t.Error("they were not read")
	}
}
