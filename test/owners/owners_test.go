// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

const (
	// Both ends of each have an owner: so many of 16,384 places are taken that hundreds find theirs so.
	connections = 3000
	patience    = time.Minute
)

// owner is struct owner of bpf/owner.h, as far as it is of interest here.
type owner struct {
	_      [36]byte // who and peer, net_ns
	Port   uint16
	_      [58]byte
	Socket uint64
}

// left counts the owners of sockets whose service is at a port, in each of the two maps.
func left(t *testing.T, pins string, port uint16) (places, hashed int) {
	t.Helper()
	for name, n := range map[string]*int{"places": &places, "owners": &hashed} {
		found, err := filepath.Glob(filepath.Join(pins, "socket", "map-"+name+"-*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("pins of the map %s: %v, %v", name, found, err)
		}
		m, err := ebpf.LoadPinnedMap(found[0], &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		key, value := make([]byte, m.KeySize()), owner{}
		sockets := map[uint64]bool{}
		// Others go on meanwhile. Where a key of theirs goes that was just read, the kernel begins again: what was there all the time was seen,
		// once or more often.
		for again := true; again; {
			all := m.Iterate()
			for all.Next(&key, &value) {
				if value.Socket != 0 && value.Port == port {
					sockets[value.Socket] = true
				}
			}
			again = errors.Is(all.Err(), ebpf.ErrIterationAborted)
			if err := all.Err(); err != nil && !again {
				t.Fatal(err)
			}
		}
		*n = len(sockets)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return places, hashed
}

func TestNothingIsLeft(t *testing.T) {
	mount := scene.BPFFS(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if want := uint64(2*connections + 1000); limit.Cur < want {
		limit.Cur, limit.Max = want, max(limit.Max, want)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatalf("the test opens %d files at once: %v", want, err)
		}
	}
	pins := filepath.Join(mount, "spoor")
	told := make(chan *spoorv1.Flow, 1000)
	a, err := watch.Start(t.Context(), agent.Options{Pin: pins, Interval: 100 * time.Millisecond}, func(ev *spoorv1.Event) {
		if f := ev.GetFlow(); f != nil && f.GetDirection() == spoorv1.Direction_DIRECTION_OUTBOUND {
			told <- f
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(listener.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // of TCP
	var open []net.Conn
	for range connections {
		client, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, client, server)
	}
	places, hashed := left(t, pins, port)
	if want := 2*connections + 1; places+hashed != want { // and the listener
		t.Errorf("%d sockets have a place and %d are in the hash, want %d in all", places, hashed, want)
	}
	if kernel.Atomics() == nil && (places == 0 || hashed == 0) {
		t.Errorf("%d sockets have a place and %d are in the hash: one way was not tried", places, hashed)
	}
	for _, c := range open {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody talks to the port any more, so nobody gets a new owner; a time-wait socket has none.
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if places, hashed = left(t, pins, port); places+hashed == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d places and %d entries of the hash are still those of sockets that are closed", places, hashed)
		}
	}
	var opened, closed uint32
	for deadline := time.After(patience); opened < connections || closed < connections; {
		select {
		case f := <-told:
			if f.GetPeer().GetPort() == uint32(port) {
				opened, closed = opened+f.GetOpened(), closed+f.GetClosed()
			}
		case <-deadline:
			t.Fatalf("%d connections are told as opened and %d as closed, want %d", opened, closed, connections)
		}
	}
	go func() {
		for range told { // what else the agent tells at its end
		}
	}()
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
	close(told)
	if opened != connections || closed != connections {
		t.Errorf("%d connections are told as opened and %d as closed, want %d", opened, closed, connections)
	}
}
