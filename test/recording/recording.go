// SPDX-License-Identifier: Apache-2.0

// Package recording reads recordings for tests that must not know the command line, which reads them for people.
package recording

import (
	"bufio"
	"compress/gzip"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Read returns the events of a recording as `spoor record` makes it, compressed. Without one it fails.
func Read(t *testing.T, path string) (events []*spoorv1.Event) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		ev := &spoorv1.Event{}
		if err := protojson.Unmarshal(lines.Bytes(), ev); err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	if lines.Err() != nil || len(events) == 0 {
		t.Fatalf("%s: %d events: %v", path, len(events), lines.Err())
	}
	return events
}
