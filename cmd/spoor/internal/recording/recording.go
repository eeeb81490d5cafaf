// SPDX-License-Identifier: Apache-2.0

// Package recording reads stored events from a file: one in JSON a line, as `spoor record` and `spoor events -o json` write
// them, as they are or compressed with gzip. It must not know what becomes of them.
package recording

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// maxLine bounds one event: more than an agent may ship in one message.
const maxLine = 16 << 20

// LineError says which line of a recording is none.
type LineError struct {
	// Counted from 1.
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Each hands every event to fn and ends with fn's first error. What is no event is a *LineError.
func Each(r io.Reader, fn func(*spoorv1.Event) error) error {
	in, err := plain(r)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	n := 1
	for ; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		ev, err := decode(lines.Bytes())
		if err != nil {
			return &LineError{n, err}
		}
		if err := fn(ev); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return &LineError{n, err}
	}
	return nil
}

// decode reads one line. Fields of later versions are ignored, as everywhere.
func decode(line []byte) (*spoorv1.Event, error) {
	ev := &spoorv1.Event{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, ev); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
	}
	if ev.GetTime() == nil {
		return nil, errors.New("not an event: it has no time")
	}
	return ev, nil
}

// plain undoes gzip where there is any.
func plain(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b { // RFC 1952, 2.3.1
		return gzip.NewReader(b)
	}
	return b, nil
}
