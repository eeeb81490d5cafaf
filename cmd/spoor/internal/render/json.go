// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// JSON writes m as one object on one line: ProtoJSON with the field names of the .proto files.
//
// JSON escapes control characters by itself, and DEL and C1 controls are legal in it as they are; they are
// escaped here too, because people look at JSON on terminals.
func JSON(w io.Writer, m proto.Message) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	// protojson varies its white space from build to build on purpose; what we print has none.
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	line.WriteByte('\n')
	_, err = w.Write(escapeJSON(line.Bytes()))
	return err
}

// Object writes v, which is no message of the protocol, as one object on one line, escaped as JSON does it.
func Object(w io.Writer, v any) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	_, err := w.Write(escapeJSON(line.Bytes()))
	return err
}

// escapeJSON writes the invisible and the dangerous of what JSON lets stand as \u escapes. Outside strings
// JSON is ASCII, so that every such character is inside one.
func escapeJSON(line []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(line) {
		switch {
		case r == '\n' || r >= ' ' && r <= '~' || r > '~' && visible(r):
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}
