// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"net"
	"net/http"
	"sync"

	"github.com/spoor/spoor/collector/anteroom"
)

// maxStrangers is how many connections may be open on which nothing is asked.
const maxStrangers = 1024

// strangers are connections on which nothing is asked: new ones, and those that are kept for a next question. They are in an anteroom, of which the
// oldest is closed when there are too many.
type strangers struct {
	net.Listener
	room   *anteroom.Anteroom
	closed func() // counts them

	mu sync.Mutex
	at map[net.Conn]func() // leaves the anteroom
}

func newStrangers(l net.Listener, most int, closed func()) *strangers {
	return &strangers{Listener: l, room: anteroom.New(most), closed: closed, at: map[net.Conn]func(){}}
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
	s.at[conn] = s.room.Enter(func() { // called by another add, with the lock held
		delete(s.at, conn)
		s.closed()
		_ = conn.Close() // its server is told by that, and closes it again
	})
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
	if leave := s.at[conn]; leave != nil {
		leave()
		delete(s.at, conn)
	}
}
