// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wires is a listener whose connections are in memory, so that its time can be made up.
type wires struct {
	conns chan net.Conn
	done  chan struct{}
}

func (w *wires) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}
func (w *wires) Close() error   { close(w.done); return nil }
func (w *wires) Addr() net.Addr { return &net.TCPAddr{} }

// patience is the server with its real bounds, around a handler that waits for a body.
type patience struct {
	t      *testing.T
	wires  *wires
	guests *strangers
	ended  chan error // of handlers
	closed int
}

func inBubble(t *testing.T, most int, test func(p *patience)) {
	synctest.Test(t, func(t *testing.T) {
		p := &patience{t: t, wires: &wires{make(chan net.Conn), make(chan struct{})}, ended: make(chan error, 10)}
		p.guests = newStrangers(p.wires, most, func() { p.closed++ })
		c := &Collector{o: Options{Logger: slog.New(slog.DiscardHandler)}, handle: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			p.ended <- err
		})}
		server := c.server(p.guests)
		served := make(chan error, 1)
		go func() { served <- server.Serve(p.guests) }()
		test(p)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func (p *patience) dial() net.Conn {
	here, there := net.Pipe()
	p.wires.conns <- there
	p.t.Cleanup(func() { _ = here.Close() })
	synctest.Wait()
	return here
}

// closes expects a connection to be closed from the other side after some time, while what comes is read.
func (p *patience) closes(conn net.Conn, at time.Duration) {
	p.t.Helper()
	begun := time.Now()
	if err := conn.SetReadDeadline(begun.Add(time.Hour)); err != nil && !errors.Is(err, io.ErrClosedPipe) { // that is: closed already
		p.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		p.t.Errorf("not closed after an hour: %v", err)
	}
	if took := time.Since(begun).Round(time.Second); took != at {
		p.t.Errorf("closed after %v, want %v", took, at)
	}
}

// begin opens an HTTP/2 connection by hand, with a stream that has no end.
func (p *patience) begin(conn net.Conn, stream bool) {
	p.t.Helper()
	var out, head bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	errs := []error{f.WriteSettings()}
	h := hpack.NewEncoder(&head)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "localhost"}} {
		errs = append(errs, h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	if stream {
		errs = append(errs, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}))
	}
	go func() { _, _ = conn.Write(out.Bytes()) }()
	if err := errors.Join(errs...); err != nil {
		p.t.Fatal(err)
	}
}

// TestWhoSaysNothing: not even what protocol it speaks, or only that.
func TestWhoSaysNothing(t *testing.T) {
	inBubble(t, 10, func(p *patience) { p.closes(p.dial(), headerTimeout) })
	inBubble(t, 10, func(p *patience) {
		conn := p.dial()
		p.begin(conn, false)
		p.closes(conn, pingAfter+pingTimeout) // nobody answers
	})
}

// TestWhoIsHalfOpen: the other side is gone without a word. It neither answers pings nor reads anything.
func TestWhoIsHalfOpen(t *testing.T) {
	inBubble(t, 10, func(p *patience) { // its kernel still reads
		conn := p.dial()
		begun := time.Now()
		p.begin(conn, true)
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		if err := <-p.ended; err == nil {
			t.Error("the stream ended in order")
		}
		if took := time.Since(begun).Round(time.Second); took != pingAfter+pingTimeout {
			t.Errorf("the stream ended after %v, want %v", took, pingAfter+pingTimeout)
		}
	})
	inBubble(t, 10, func(p *patience) { // nothing reads
		conn := p.dial()
		begun := time.Now()
		p.begin(conn, true)
		synctest.Wait()
		time.Sleep(pingAfter + 2*pingTimeout)
		p.guests.mu.Lock()
		defer p.guests.mu.Unlock()
		if n := len(p.guests.at); n != 0 {
			t.Errorf("%d connections are open %v after the last word", n, time.Since(begun))
		}
	})
}

// TestManyStrangers: the oldest has to go, who asks stays.
func TestManyStrangers(t *testing.T) {
	inBubble(t, 3, func(p *patience) {
		oldest, asks := p.dial(), p.dial()
		p.begin(asks, true)
		go func() { _, _ = io.Copy(io.Discard, asks) }()
		synctest.Wait()
		for range 3 {
			p.dial()
		}
		p.closes(oldest, 0)
		p.guests.mu.Lock()
		defer p.guests.mu.Unlock()
		if n := p.closed; n != 1 || p.guests.room.Count() != 3 || len(p.guests.at) != 3 {
			t.Errorf("%v closed, %d are known", n, p.guests.room.Count())
		}
		if len(p.ended) > 0 {
			t.Error("who asks was disturbed")
		}
	})
}
