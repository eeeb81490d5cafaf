// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// terminal understands what a screen sends to one: text, line feeds, carriage returns, cursor up, erase below.
type terminal struct {
	lines []string
	row   int
}

func (m *terminal) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			var n int
			switch {
			case strings.HasPrefix(rest, "J"):
				m.lines = m.lines[:m.row]
				text = rest[1:]
			default:
				if _, err := fmt.Sscanf(rest, "%dA", &n); err != nil {
					return 0, fmt.Errorf("unknown sequence %q", rest[:min(8, len(rest))])
				}
				m.row -= n
				_, text, _ = strings.Cut(rest, "A")
			}
			continue
		}
		if rest, ok := strings.CutPrefix(text, "\r"); ok {
			text = rest
			continue
		}
		line, rest, _ := strings.Cut(text, "\n")
		m.lines = append(m.lines[:m.row], line)
		m.row++
		text = rest
	}
	return len(p), nil
}

func (m *terminal) String() string { return strings.Join(m.lines, "\n") }

func TestScreenKeepsWhatIsSaidAboveWhatIsLive(t *testing.T) {
	var m terminal
	s := &screen{out: &m, live: true}
	steps := []struct {
		do   func()
		want string
	}{
		{func() { s.say("start") }, "start"},
		{func() { s.draw([]string{"rate 1", "row a"}) }, "start\nrate 1\nrow a"},
		{func() { s.draw([]string{"rate 2", "row a", "row b"}) }, "start\nrate 2\nrow a\nrow b"},
		{func() { s.say("finding", "another") }, "start\nfinding\nanother\nrate 2\nrow a\nrow b"},
		{func() { fmt.Fprintln(s.beside(&m), "log line") }, "start\nfinding\nanother\nlog line\nrate 2\nrow a\nrow b"},
		{func() { s.draw([]string{"rate 3"}) }, "start\nfinding\nanother\nlog line\nrate 3"},
		{s.clear, "start\nfinding\nanother\nlog line"},
		{func() { s.draw([]string{"too late"}) }, "start\nfinding\nanother\nlog line"},
		{func() { s.say("end") }, "start\nfinding\nanother\nlog line\nend"},
	}
	for i, step := range steps {
		step.do()
		if got := m.String(); got != step.want {
			t.Fatalf("after step %d the terminal shows\n%s\nwant\n%s", i, got, step.want)
		}
	}
}

func TestScreenThatIsNoTerminalGetsNoSequences(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	s.say("a")
	s.draw([]string{"live"})
	s.clear()
	_, _ = io.WriteString(s, "b\n")
	if got := out.String(); got != "a\nb\n" {
		t.Errorf("%q was written", got)
	}
}
