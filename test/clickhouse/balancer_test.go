// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// balancer gives each connection to one of the collectors, whichever chance has it, and knows nothing of what they carry.
type balancer struct {
	listener net.Listener
	over     sync.WaitGroup

	mu       sync.Mutex
	backends []string
	open     map[net.Conn]bool
}

func newBalancer(t *testing.T, backends int) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l, backends: make([]string, backends), open: map[net.Conn]bool{}}
	b.over.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			b.over.Go(func() { b.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.cut(1)
		b.over.Wait()
	})
	return b
}

func (b *balancer) url() string { return "http://" + b.listener.Addr().String() }

// set says where one of the collectors listens.
func (b *balancer) set(backend int, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends[backend] = addr
}

// cut resets that share of the connections: what is under way in them is lost, or is answered to nobody.
func (b *balancer) cut(share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		if rand.Float64() < share {
			_ = c.Close()
		}
	}
}

func (b *balancer) carry(client net.Conn) {
	defer func() { _ = client.Close() }()
	b.mu.Lock()
	addr := b.backends[rand.IntN(len(b.backends))]
	b.open[client] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, client)
	}()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return // it is dead: the agent tries again
	}
	defer func() { _ = server.Close() }()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(server, client); done <- struct{}{} }() // either end may break
	go func() { _, _ = io.Copy(client, server); done <- struct{}{} }()
	<-done
	_, _ = client.Close(), server.Close()
	<-done
}
