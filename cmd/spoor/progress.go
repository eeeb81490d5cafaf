// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

// progress draws on a terminal how far a long look back has come.
type progress struct {
	w     io.Writer
	on    bool
	begun time.Time
	drawn time.Time
	n     uint64
	// Where it was when it began: not at 0 when it goes on with something.
	start   float64
	started bool
}

func newProgress(w io.Writer) *progress {
	_, _, isTerminal := terminalSize(w)
	return &progress{w: w, on: isTerminal && os.Getenv("TERM") != "dumb", begun: time.Now()}
}

// redraw is how often the bar moves at most.
const redraw = 100 * time.Millisecond

// show draws the bar after some more events, of which done is the part that is over.
func (p *progress) show(evs []*spoorv1.Event, done float64) {
	p.n += uint64(len(evs))
	if !p.started {
		p.start, p.started = done, true
	}
	now := time.Now()
	if !p.on || len(evs) == 0 || now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	fmt.Fprint(p.w, "\r\x1b[K", p.line(render.When(evs[len(evs)-1]).AsTime(), done, now.Sub(p.begun)))
}

// barWidth is that of the bar without its ends.
const barWidth = 24

func (p *progress) line(at time.Time, done float64, took time.Duration) string {
	line := fmt.Sprintf("%d events, at %s", p.n, at.Local().Format("2006-01-02 15:04:05"))
	if done <= 0 {
		return line
	}
	full := int(done * barWidth)
	line = fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100, line)
	if part := done - p.start; part > 0.01 {
		left := time.Duration(float64(took) * (1 - done) / part)
		line += ", " + render.Duration(left) + " left"
	}
	return line
}

// end takes the bar away.
func (p *progress) end() {
	if !p.drawn.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
