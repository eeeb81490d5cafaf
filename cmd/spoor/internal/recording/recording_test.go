// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const two = `{"time":"2026-11-22T06:29:20Z","kind":"flow","of_a_later_version":{"x":1}}

{"time":"2026-11-22T06:29:21Z","kind":"listen"}
`

func kinds(t *testing.T, r *bytes.Reader) string {
	t.Helper()
	var all []string
	if err := Each(r, func(ev *spoorv1.Event) error {
		all = append(all, ev.GetKind())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestEach(t *testing.T) {
	if got := kinds(t, bytes.NewReader([]byte(two))); got != "flow listen" {
		t.Errorf("read %q", got)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write([]byte(two)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := kinds(t, bytes.NewReader(z.Bytes())); got != "flow listen" {
		t.Errorf("read %q of what was compressed", got)
	}
	if got := kinds(t, bytes.NewReader(nil)); got != "" {
		t.Errorf("read %q of nothing", got)
	}
}

func TestWhatIsNoRecording(t *testing.T) {
	for _, tc := range []struct {
		text string
		line int
	}{{two + "{", 4}, {`{"kind":"flow"}`, 1}, {two + strings.Repeat("x", maxLine+1), 4}} {
		err := Each(strings.NewReader(tc.text), func(*spoorv1.Event) error { return nil })
		if le, ok := errors.AsType[*LineError](err); !ok || le.Line != tc.line {
			t.Errorf("%.20q...: %v, want line %d", tc.text, err, tc.line)
		}
	}
	stop := errors.New("enough")
	if err := Each(strings.NewReader(two), func(*spoorv1.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("went on after %v", err)
	}
}

// Whatever a recording holds, what is read of it can be written and read again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"time":"2026-11-22T06:29:20Z","kind":"flow","flow":{"peer":{"address":"127.0.0.1","port":8765}}}`,
		`{"time":"2026-11-22T06:29:20Z","file_write":{"file":{"path":"/tmp/\u001b[2J","path_raw":"L3RtcC//"}}}`,
		`{}`, `[]`, `{"later":{"field":1},"time":"0001-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		ev, err := decode(line)
		if err != nil {
			return
		}
		again, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if !proto.Equal(ev, back) {
			t.Fatalf("%v became %v", ev, back)
		}
	})
}
