// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

// output are the flags of every command that prints an answer.
type output struct {
	Output string `short:"o" help:"table for people, or json for programs: one object a line." enum:"table,json" default:"table"`
	colour
}

// colour is the flag of every command that may print in colour.
type colour struct {
	Color string `help:"When to use colour: auto (on a terminal, unless NO_COLOR is set), always or never." enum:"auto,always,never" default:"auto"`
}

func (o *output) json() bool { return o.Output == "json" }

// style fits the text to where it goes: the width and colours of a terminal, or all of it in plain for a pipe.
func (c *colour) style(streams *cli.Streams) render.Style {
	s := render.Style{Zone: time.Local, Now: time.Now()}
	columns, _, isTerminal := terminalSize(streams.Out)
	s.Width = columns
	switch c.Color {
	case "always":
		s.Color = true
	case "auto":
		// https://no-color.org: any value but the empty one switches colour off.
		s.Color = isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

// terminalSize asks the terminal behind w, if there is one.
func terminalSize(w io.Writer) (columns, rows int, ok bool) {
	file, isFile := w.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	if size.Col == 0 || size.Row == 0 {
		return 80, 24, true
	}
	return int(size.Col), int(size.Row), true
}

// jsonLine adapts render.JSON to a concrete message type.
func jsonLine[M proto.Message](w io.Writer, m M) error { return render.JSON(w, m) }
