// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// screen is where `up` writes: lines that stay and, on a terminal, below them a region that is drawn anew. It may
// be used by many goroutines. What cannot be written is lost: there is nowhere else to say so.
type screen struct {
	out  io.Writer
	live bool

	mu sync.Mutex
	// The lines of the region as they stand on the terminal.
	region []string
}

// newScreen returns a screen that has a live region when out is a terminal and nobody asked for quiet.
func newScreen(out io.Writer, quiet bool) *screen {
	_, _, isTerminal := terminalSize(out)
	return &screen{out: out, live: isTerminal && !quiet}
}

// say writes lines that stay.
func (s *screen) say(lines ...string) {
	_, _ = s.Write([]byte(strings.Join(lines, "\n") + "\n"))
}

// Write writes text that stays, above the live region; it makes a screen what a table can be written to.
func (s *screen) Write(p []byte) (int, error) { return s.above(s.out, p) }

// above writes p to w between taking the region off the terminal and putting it back.
func (s *screen) above(w io.Writer, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.region) == 0 {
		return w.Write(p)
	}
	fmt.Fprint(s.out, s.erasure())
	n, err := w.Write(p)
	fmt.Fprint(s.out, strings.Join(s.region, "\n")+"\n")
	return n, err
}

// draw replaces the live region by lines that fit the width of the terminal.
func (s *screen) draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		// In one piece, so that nothing flickers.
		fmt.Fprint(s.out, s.erasure()+strings.Join(lines, "\n")+"\n")
		s.region = lines
	}
}

// clear takes the live region away for good.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(s.out, s.erasure())
	s.live, s.region = false, nil
}

// erasure moves to the beginning of the region and erases from there to the end of the screen.
func (s *screen) erasure() string {
	if len(s.region) == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", len(s.region))
}

// beside returns a writer to w, for a log, that leaves the live region intact.
func (s *screen) beside(w io.Writer) io.Writer { return besideScreen{s, w} }

type besideScreen struct {
	screen *screen
	w      io.Writer
}

func (b besideScreen) Write(p []byte) (int, error) { return b.screen.above(b.w, p) }
