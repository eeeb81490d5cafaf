// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/test/scene"
)

// A follower outlives its collector and goes on where it was: it tells every event once.
func TestFollowGoesOnWhenTheCollectorComesBack(t *testing.T) {
	dir := t.TempDir()
	url, stop, err := runCollector("127.0.0.1:0", dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var story *scene.Story
	sequence, last := uint64(0), uint64(0)
	write := func(path string) {
		t.Helper()
		sequence++
		story = scene.NewStory(start, sequence, last)
		session := story.Instance("Session", "uid-1000", "/user.slice")
		story.Process(session, &spoorv1.Process{ExecId: scene.Bash, Tgid: 900, Comm: "bash"})
		story.Tell(time.Minute, scene.Bash, story.Write(time.Minute, path, sequence, 1))
		last = story.LastEvent()
		if err := scene.Ship(t.Context(), url, scene.Hello(start), story.Batch); err != nil {
			t.Fatal(err)
		}
	}

	out, in := io.Pipe()
	var remarks bytes.Buffer
	ctx, interrupt := context.WithCancel(t.Context())
	command := eventsCommand{Follow: true, output: output{Output: "json"}, remote: remote{Collector: url, Timeout: time.Minute}}
	ended := make(chan error, 1)
	go func() {
		ended <- command.Run(ctx, &cli.Streams{Out: in, Err: &remarks})
		_ = in.Close()
	}()
	lines := bufio.NewScanner(out)
	expect := func(path string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the output ended before %s: %v", path, <-ended)
		}
		var ev struct {
			FileWrite struct{ File struct{ Path string } } `json:"file_write"`
		}
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			t.Fatal(err)
		}
		if got := ev.FileWrite.File.Path; got != path {
			t.Fatalf("told %q, want %q", got, path)
		}
	}
	write("/before")
	expect("/before")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	url, stop, err = runCollector(strings.TrimPrefix(url, "http://"), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		write(fmt.Sprintf("/after/%d", i))
	}
	for i := range 3 {
		expect(fmt.Sprintf("/after/%d", i))
	}
	interrupt()
	if lines.Scan() {
		t.Errorf("told more: %s", lines.Text())
	}
	if err := <-ended; err != nil {
		t.Errorf("interrupted, it ended with %v", err)
	}
	if !strings.Contains(remarks.String(), "went away; waiting for it") {
		t.Errorf("said nothing about the collector that went away: %q", remarks.String())
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
