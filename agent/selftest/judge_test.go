// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"slices"
	"strings"
	"testing"

	"github.com/spoor/spoor/agent/act"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const writer, reader = 7, 8

// did is an act by which process 7 wrote a file and 8 did not.
func did(name, fs string) done {
	f := &act.File{Path: "/a", Dev: 1, Inode: 2, Size: 3}
	return done{act: act.Find(name), fs: fs, result: &act.Result{
		Act:       name,
		Facts:     []act.Expectation{{Kind: act.FileWrite, Tgid: writer, File: f}},
		Forbidden: []act.Expectation{{Kind: act.FileWrite, Tgid: reader, File: f}},
	}}
}

func told(tgid uint32) *spoorv1.Event {
	return &spoorv1.Event{
		Kind: "file_write", Process: &spoorv1.Process{Tgid: tgid},
		Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{
			File: &spoorv1.File{Path: "/a", Dev: 1, Inode: 2}, SizeAfter: 3, Data: true,
		}},
	}
}

func TestJudge(t *testing.T) {
	on := []Sensor{{Name: "file", Tier: "base"}}
	leftOut := []Sensor{{Name: "file", Tier: "off", Reason: "left out"}}
	for _, tt := range []struct {
		name    string
		act, fs string
		sensors []Sensor
		events  []*spoorv1.Event
		want    State
		why     string
	}{
		{"told", "append", "ext4", on, []*spoorv1.Event{told(writer)}, Seen, ""},
		{"not told", "append", "ext4", on, nil, Untold, "no such event"},
		{"not told, the sensor is off", "append", "ext4", leftOut, nil, Missed, "sensor file is off: left out"},
		{"told of another process", "append", "ext4", on, []*spoorv1.Event{told(writer), told(reader)}, Wrong, "did not write"},
		{"a known gap", "overwrite-dirty", "xfs", on, nil, Missed, "xfs and btrfs"},
		{"a known gap on an overlay", "overwrite-dirty", "overlay-xfs", on, nil, Missed, "xfs and btrfs"},
		{"a known gap that is none", "overwrite-dirty", "xfs", on, []*spoorv1.Event{told(writer)}, Surprise, "listed as a gap"},
		{"no gap on another file system", "overwrite-dirty", "ext4", on, nil, Untold, "no such event"},
		{"a matter of luck, seen", "append", "tmpfs", on, []*spoorv1.Event{told(writer)}, Sometimes, "4 ms"},
		{"a matter of luck, not seen", "append", "tmpfs", on, nil, Sometimes, "4 ms"},
		{"luck excuses no wrong", "append", "tmpfs", on, []*spoorv1.Event{told(reader)}, Wrong, "did not write"},
		{"but where that is known", "quiet-fsync", "ext4", on, []*spoorv1.Event{told(reader)}, Sometimes, "fsync"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &node{release: "6.1.0", tier: "base", sensors: tt.sensors}
			d := did(tt.act, tt.fs)
			got := n.judge(d, tt.events)
			if got.State != tt.want || !strings.Contains(got.Why, tt.why) {
				t.Errorf("%s: %s, want %s: %s", got.State, got.Why, tt.want, tt.why)
			}
			r := &Report{Cells: []Cell{got}}
			if r.OK() != got.State.OK() || (len(r.Short()) == 0) != (got.State.OK() || got.State == Surprise) {
				t.Errorf("a report of that is OK: %v, falls short by %v", r.OK(), r.Short())
			}
		})
	}
}

// Every gap is about acts that exist, and says why.
func TestGaps(t *testing.T) {
	for _, g := range gaps() {
		if g.why == "" {
			t.Errorf("nobody says why %v are not seen", g.acts)
		}
		for _, pattern := range g.acts {
			if !slices.ContainsFunc(act.All(), func(a *act.Act) bool { return contains([]string{pattern}, a.Name) }) {
				t.Errorf("no act is called %s", pattern)
			}
		}
	}
}

func TestOlder(t *testing.T) {
	for _, tt := range []struct {
		release, version string
		want             bool
	}{
		{"5.10.0-35-amd64", "5.11", true},
		{"5.11.0", "5.11", false},
		{"6.1.0-44-amd64", "5.11", false},
		{"5.9.1", "5.10", true},
		{"strange", "5.11", false},
	} {
		if got := older(tt.release, tt.version); got != tt.want {
			t.Errorf("older(%q, %q) is %v", tt.release, tt.version, got)
		}
	}
}

func TestEverySensorIsKnown(t *testing.T) {
	for kind, want := range map[act.Kind]string{
		act.FileWrite: "file", act.FileChange: "names", act.Connection: "socket", act.Listening: "socket",
		act.ProcessStart: "process", act.ProcessExit: "process", act.Sharing: "unix",
	} {
		if got := sensorOf(&act.Expectation{Kind: kind}); got != want {
			t.Errorf("%s is seen by %q, not by %q", kind, got, want)
		}
	}
	udp := &act.Expectation{Kind: act.Connection, Flow: &act.Flow{Transport: spoorv1.Transport_TRANSPORT_UDP}}
	memory := &act.Expectation{Kind: act.Sharing, Share: &act.Share{Kind: spoorv1.Share_KIND_MEMORY}}
	if sensorOf(udp) != "udp" || sensorOf(memory) != "memory" {
		t.Errorf("UDP is seen by %q, memory by %q", sensorOf(udp), sensorOf(memory))
	}
}

func TestSecondAttempt(t *testing.T) {
	first := &Report{
		Losses: []string{"file: 1, map_full"},
		Cells: []Cell{
			{Act: "append", FileSystem: "ext4", State: Untold, Why: "no such event"},
			{Act: "append", FileSystem: "tmpfs", State: Seen},
			{Act: "tcp4", State: Untold, Why: "no such event"},
			{Act: "fork", State: Wrong, Why: "somebody else"},
		},
	}
	if got := first.untold(); !slices.Equal(got, []string{"append", "tcp4"}) {
		t.Errorf("to be done again: %v", got)
	}
	first.merge(&Report{
		Losses: []string{"socket: 2, preempted"},
		Cells: []Cell{
			{Act: "append", FileSystem: "ext4", State: Seen},
			{Act: "append", FileSystem: "tmpfs", State: Untold, Why: "this time"},
			{Act: "tcp4", State: Untold, Why: "again"},
		},
	})
	want := []Cell{
		{Act: "append", FileSystem: "ext4", State: Sometimes, Why: "told at the second attempt; at the first one: no such event"},
		{Act: "append", FileSystem: "tmpfs", State: Seen},
		{Act: "tcp4", State: Untold, Why: "no such event"},
		{Act: "fork", State: Wrong, Why: "somebody else"},
	}
	if !slices.Equal(first.Cells, want) || len(first.Losses) != 2 {
		t.Errorf("%+v, lost %v", first.Cells, first.Losses)
	}
}
