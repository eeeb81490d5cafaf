// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// maxStrangers is how many connections may be open on which nothing is asked.
const maxStrangers = 1024

// strangers are connections on which nothing is asked: new ones, and those that are kept for a next question. When there are too
// many, the oldest is closed: who has something to ask does so at once, and nobody can keep others out by connecting and
// saying nothing.
type strangers struct {
	net.Listener
	most   int
	closed func() // counts them

	mu    sync.Mutex
	order *list.List // of net.Conn
	at    map[net.Conn]*list.Element
}

func newStrangers(l net.Listener, most int, closed func()) *strangers {
	return &strangers{Listener: l, most: most, closed: closed, order: list.New(), at: map[net.Conn]*list.Element{}}
}

// Accept implements net.Listener.
func (s *strangers) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err == nil {
		s.add(conn)
	}
	return conn, err
}

func (s *strangers) add(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[conn] != nil {
		return
	}
	if s.order.Len() >= s.most {
		if oldest, ok := s.order.Front().Value.(net.Conn); ok {
			s.remove(oldest)
			s.closed()
			_ = oldest.Close() // its server is told by that, and closes it again
		}
	}
	s.at[conn] = s.order.PushBack(conn)
}

// remove is called with the lock held.
func (s *strangers) remove(conn net.Conn) {
	if e := s.at[conn]; e != nil {
		s.order.Remove(e)
		delete(s.at, conn)
	}
}

// state follows connections: it is the server's ConnState.
func (s *strangers) state(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	if state == http.StateIdle {
		s.add(conn)
		return
	}
	if state == http.StateNew { // Accept has it
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(conn)
}
