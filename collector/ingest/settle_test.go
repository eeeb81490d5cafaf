// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// TestTheDiskComesBeforeTheAcknowledgement: what is committed is acknowledged when it is on the disk, and the next is committed meanwhile.
func TestTheDiskComesBeforeTheAcknowledgement(t *testing.T) {
	c := newCentre(t, nil)
	a, b := c.dial(), c.dial()
	a.greet(hello("a", "e"))
	b.greet(hello("b", "e"))
	synced := make(chan error)
	disk := func() error { return <-synced }
	c.store.disk.Store(&disk)
	a.send(batch(1, 1, 10))
	committed := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); len(c.events()) < want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d events were committed", len(c.events()), want)
			}
		}
	}
	committed(10)
	b.send(batch(1, 1, 10))
	committed(20) // while the disk has yet to take the first
	heard := make(chan struct{})
	go func() {
		a.acknowledged(1)
		close(heard)
	}()
	select {
	case <-heard:
		t.Error("acknowledged before it is on the disk")
	case <-time.After(100 * time.Millisecond):
	}
	synced <- nil
	<-heard
	synced <- errors.New("input/output error")
	if code, problem := b.ended(); code != connect.CodeUnavailable || !strings.Contains(problem, "input/output error") {
		t.Errorf("what never came to the disk ended with %v %s", code, problem)
	}
	if c.committer.Healthy() == nil {
		t.Error("the committer says that it is healthy")
	}
	c.store.disk.Store(nil)
}
