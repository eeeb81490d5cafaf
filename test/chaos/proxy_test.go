// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// front makes the address at which agents look for the collector, and what each life of the proxy inherits to listen there.
func front(t *testing.T) (url string, inherited *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if inherited, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inherited.Close() })
	return "http://" + l.Addr().String(), inherited
}

// addressFile is where the collector writes where it listens.
const addressFile = "address"

// proxy stands between agents and the collector, on a listener that it inherits: so what connects while it is dead waits for
// its next life.
func proxy(how part, ended <-chan struct{}) error {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	go func() {
		<-ended
		_ = l.Close()
	}()
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go carry(client.(*net.TCPConn), filepath.Join(how.Dir, addressFile), how.Calm)
	}
}

// carry takes one connection to the collector, as unreliably as chance has it.
func carry(client *net.TCPConn, address string, calm bool) {
	b, err := os.ReadFile(address)
	if err != nil {
		_ = client.Close() // there is no collector yet
		return
	}
	c, err := net.Dial("tcp", string(b))
	if err != nil {
		_ = client.Close()
		return
	}
	server := c.(*net.TCPConn)
	what := rand.IntN(10) // half of them do what they should
	if calm {
		what = 0
	}
	limit := int64(rand.IntN(400_000))
	switch what {
	case 1: // cut, at any byte, on the way there
		pipe(client, server, limit, 1<<62, 0)
	case 2: // cut, at any byte, on the way back
		pipe(client, server, 1<<62, limit/100, 0)
	case 3: // slow
		pipe(client, server, 1<<62, 1<<62, 20*time.Millisecond)
	case 4: // nobody answers for a while
		time.Sleep(rand.N(700 * time.Millisecond))
		reset(client, server)
	case 5:
		late(client, server, limit)
	default:
		pipe(client, server, 1<<62, 1<<62, 0)
	}
}

// pipe carries so many bytes there and back, each piece after a delay of up to so long, then resets both.
func pipe(client, server *net.TCPConn, there, back int64, delay time.Duration) {
	done := make(chan struct{}, 2)
	go func() { carryBytes(server, client, there, delay); done <- struct{}{} }()
	go func() { carryBytes(client, server, back, delay); done <- struct{}{} }()
	<-done
	reset(client, server)
	<-done
}

func carryBytes(to io.Writer, from io.Reader, limit int64, delay time.Duration) {
	from = io.LimitReader(from, limit)
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		if delay > 0 {
			time.Sleep(rand.N(delay))
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// late ends the agent's side after so many bytes, and brings what came to the collector only then: after what the agent sends over its
// next connection.
func late(client, server *net.TCPConn, limit int64) {
	held, _ := io.ReadAll(io.LimitReader(&until{client, time.Now().Add(300 * time.Millisecond)}, limit)) // as much as came
	reset(client)
	time.Sleep(rand.N(700 * time.Millisecond))
	_, _ = server.Write(held)
	time.Sleep(rand.N(300 * time.Millisecond))
	reset(server)
}

// until reads from a connection, up to a time.
type until struct {
	*net.TCPConn
	deadline time.Time
}

func (u *until) Read(b []byte) (int, error) {
	if err := u.SetReadDeadline(u.deadline); err != nil {
		return 0, err
	}
	return u.TCPConn.Read(b)
}

// reset ends connections so that what was not read is thrown away.
func reset(conns ...*net.TCPConn) {
	for _, c := range conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}
