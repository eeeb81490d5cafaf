// SPDX-License-Identifier: Apache-2.0

package act

import (
	"net/netip"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func TestJudge(t *testing.T) {
	const actor, other, stranger = 100, 200, 300
	lower := &File{Path: "/merged/f", Dev: 7, Inode: 70}
	upper := &File{Path: "/upper/f", Dev: 8, Inode: 80, Generation: 5, HasGeneration: true}
	onOverlay := &File{Path: lower.Path, Dev: lower.Dev, Inode: lower.Inode, Size: 10, Upper: upper}
	server, client := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:4000")
	written := Expectation{Kind: FileWrite, Role: "actor", Tgid: actor, File: onOverlay}
	prepared := Expectation{Kind: FileWrite, Role: "setup", Tgid: other, Setup: true, File: onOverlay}
	renamed := Expectation{Kind: FileChange, Tgid: actor, File: onOverlay, Operation: opRename, TargetPath: "/merged/g"}
	called := Expectation{Kind: Connection, Tgid: actor, Flow: &Flow{
		Transport: tcp, Direction: outbound, Local: client, Peer: server, Opened: 1, Closed: 1, Sent: 5, Received: 6, Netns: 9,
	}}
	served := Expectation{Kind: Connection, Tgid: other, Flow: &Flow{
		Transport: tcp, Direction: inbound, Local: server, Peer: client, Opened: 1, Closed: 1, Sent: 6, Received: 5, Netns: 9,
	}}
	listens := Expectation{Kind: Listening, Tgid: other, Listen: &Listen{Transport: tcp, Local: server, Netns: 9}}
	started := Expectation{Kind: ProcessStart, Tgid: actor, Process: &Process{
		Cause: causeExec, ParentTgid: other, Exe: "/bin/x", Args: []string{"x", "y"}, Cwd: "/",
	}}
	killed := Expectation{Kind: ProcessExit, Tgid: actor, Process: &Process{Signal: 9}}
	shares := Expectation{Kind: Sharing, Tgid: actor, Share: &Share{Kind: spoorv1.Share_KIND_MEMORY, OtherTgid: other}}

	event := func(tgid uint32, kind Kind, set func(*spoorv1.Event)) *spoorv1.Event {
		ev := &spoorv1.Event{Kind: string(kind), Process: &spoorv1.Process{Tgid: tgid}}
		set(ev)
		return ev
	}
	write := func(tgid uint32, w *spoorv1.FileWrite) *spoorv1.Event {
		return event(tgid, FileWrite, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_FileWrite{FileWrite: w} })
	}
	change := func(tgid uint32, c *spoorv1.FileChange) *spoorv1.Event {
		return event(tgid, FileChange, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_FileChange{FileChange: c} })
	}
	flow := func(tgid uint32, f *spoorv1.Flow) *spoorv1.Event {
		f.Transport, f.NetNs = tcp, 9
		return event(tgid, Connection, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_Flow{Flow: f} })
	}
	start := func(p *spoorv1.Process) *spoorv1.Event {
		return &spoorv1.Event{Kind: string(ProcessStart), Process: p, Fact: &spoorv1.Event_ProcessStart{
			ProcessStart: &spoorv1.ProcessStart{Cause: causeExec},
		}}
	}
	exit := func(code, signal uint32) *spoorv1.Event {
		return event(actor, ProcessExit, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_ProcessExit{ProcessExit: &spoorv1.ProcessExit{ExitCode: code, Signal: signal}}
		})
	}
	file := &spoorv1.File{Path: "/merged/f", Dev: 8, Inode: 80, Generation: 5}
	movedFile := *written.File
	movedFile.Renamed = true
	moved := written
	moved.File = &movedFile
	here := &spoorv1.Endpoint{Address: "127.0.0.1", Port: 80}
	there := &spoorv1.Endpoint{Address: "127.0.0.1"}

	for _, c := range []struct {
		name      string
		facts     []Expectation
		forbidden []Expectation
		events    []*spoorv1.Event
		kinds     []Kind
		want      []string
	}{
		{name: "nothing expected"},
		{name: "only preparation", facts: []Expectation{prepared}},
		{name: "nothing told", facts: []Expectation{written}, want: []string{`file_write by actor (tgid 100) of "/merged/f": no such event`}},
		{name: "other kinds wanted", facts: []Expectation{written}, kinds: []Kind{Connection}},
		{
			name: "told of the upper file", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: file, SizeAfter: 10})},
		},
		{
			name: "told of the file on the overlay", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "/merged/f", Dev: 7, Inode: 70}, SizeAfter: 10})},
		},
		{
			name: "another generation", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "/merged/f", Dev: 8, Inode: 80, Generation: 6}, SizeAfter: 10})},
			want:   []string{"no such event"},
		},
		{
			name: "bytes of the path", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "\uFFFD", PathRaw: []byte("/merged/f"), Dev: 8, Inode: 80}, SizeAfter: 10})},
		},
		{
			name: "truncated path", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "f", PathTruncated: true, Dev: 8, Inode: 80}, SizeAfter: 10})},
		},
		{
			name: "told under the earlier name", facts: []Expectation{moved},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "/merged/f.tmp", Dev: 8, Inode: 80}, SizeAfter: 10})},
		},
		{
			name: "renamed within its directory only", facts: []Expectation{moved},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "/other/f", Dev: 8, Inode: 80}, SizeAfter: 10})},
			want:   []string{`path "/other/f" instead of "/merged/f"`},
		},
		{
			name: "wrong path and size", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: &spoorv1.File{Path: "/f", Dev: 8, Inode: 80}, SizeAfter: 9})},
			want:   []string{`path "/f" instead of "/merged/f"; size 9 instead of 10`},
		},
		{
			name: "the last of two sizes counts", facts: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: file, SizeAfter: 9}), write(actor, &spoorv1.FileWrite{File: file, SizeAfter: 10})},
		},
		{
			name: "by a stranger", facts: []Expectation{written, prepared},
			events: []*spoorv1.Event{write(stranger, &spoorv1.FileWrite{File: file, SizeAfter: 10})},
			want:   []string{"only by process 300", "process 300 () is no writer"},
		},
		{
			name: "by who prepared it", facts: []Expectation{written, prepared},
			events: []*spoorv1.Event{write(other, &spoorv1.FileWrite{File: file, SizeAfter: 10})},
			want:   []string{"only by process 200"},
		},
		{
			name: "forbidden", facts: []Expectation{prepared}, forbidden: []Expectation{written},
			events: []*spoorv1.Event{write(actor, &spoorv1.FileWrite{File: file, Data: true})},
			want:   []string{`process 100 (actor) did not write "/merged/f"`},
		},
		{
			name: "a rename that dirties the inode", facts: []Expectation{renamed}, forbidden: []Expectation{written},
			events: []*spoorv1.Event{
				write(actor, &spoorv1.FileWrite{File: file}),
				change(actor, &spoorv1.FileChange{Operation: opRename, File: file, TargetPath: "/merged/g"}),
			},
		},
		{
			name: "renamed to another name", facts: []Expectation{renamed},
			events: []*spoorv1.Event{change(actor, &spoorv1.FileChange{Operation: opRename, File: file, TargetPath: "/merged/h"})},
			want:   []string{`target "/merged/h" instead of "/merged/g"`},
		},
		{
			name: "a change known by its path only", facts: []Expectation{renamed},
			events: []*spoorv1.Event{change(actor, &spoorv1.FileChange{Operation: opRename, File: &spoorv1.File{Path: "/merged/f"}, TargetPath: "/merged/g"})},
		},
		{
			name: "another operation", facts: []Expectation{renamed},
			events: []*spoorv1.Event{change(actor, &spoorv1.FileChange{Operation: opLink, File: file, TargetPath: "/merged/g"})},
			want:   []string{"no such event"},
		},
		{
			name: "a flow in two parts", facts: []Expectation{called},
			events: []*spoorv1.Event{
				flow(actor, &spoorv1.Flow{Direction: outbound, Peer: here, Opened: 1, BytesSent: 5}),
				flow(actor, &spoorv1.Flow{Direction: outbound, Peer: here, Closed: 1, BytesReceived: 6}),
			},
		},
		{
			name: "bytes missing", facts: []Expectation{called},
			events: []*spoorv1.Event{flow(actor, &spoorv1.Flow{Direction: outbound, Peer: here, Opened: 1, Closed: 1, BytesSent: 5})},
			want:   []string{"received:0"},
		},
		{
			name: "a flow of somebody else", facts: []Expectation{called},
			events: []*spoorv1.Event{flow(stranger, &spoorv1.Flow{Direction: outbound, Peer: here, Opened: 1})},
			want:   []string{"only by process 300"},
		},
		{
			name: "served", facts: []Expectation{served},
			events: []*spoorv1.Event{flow(other, &spoorv1.Flow{
				Direction: inbound, Local: here, Peer: there, Opened: 1, Closed: 1, BytesSent: 6, BytesReceived: 5,
			})},
		},
		{
			name: "listens elsewhere", facts: []Expectation{listens},
			events: []*spoorv1.Event{event(other, Listening, func(ev *spoorv1.Event) {
				ev.Fact = &spoorv1.Event_Listen{Listen: &spoorv1.Listen{Transport: tcp, NetNs: 8, Local: &spoorv1.Endpoint{Address: "0.0.0.0", Port: 80}}}
			})},
			want: []string{"address 0.0.0.0 instead of 127.0.0.1; network namespace 8 instead of 9"},
		},
		{
			name: "started", facts: []Expectation{started},
			events: []*spoorv1.Event{start(&spoorv1.Process{Tgid: actor, ParentTgid: other, Exe: "/bin/x", Args: []string{"x", "y"}, Cwd: "/"})},
		},
		{
			name: "arguments cut", facts: []Expectation{started},
			events: []*spoorv1.Event{start(&spoorv1.Process{Tgid: actor, ParentTgid: other, Exe: "/bin/x", Args: []string{"x"}, ArgsTruncated: true, Cwd: "/"})},
		},
		{
			name: "arguments cut in silence", facts: []Expectation{started},
			events: []*spoorv1.Event{start(&spoorv1.Process{Tgid: actor, ParentTgid: 1, Exe: "/bin/y", Args: []string{"x"}, Cwd: "/tmp"})},
			want:   []string{`parent 1 instead of 200; executable "/bin/y" instead of "/bin/x"; working directory "/tmp" instead of "/"; arguments "x"`},
		},
		{
			name: "killed", facts: []Expectation{killed}, events: []*spoorv1.Event{exit(0, 9)},
		},
		{
			name: "ended otherwise", facts: []Expectation{killed}, events: []*spoorv1.Event{exit(137, 0)},
			want: []string{"code 137, signal 0 instead of 0, 9"},
		},
		{
			name: "shares with the right one", facts: []Expectation{shares},
			events: []*spoorv1.Event{
				{Kind: string(ProcessExit), Process: &spoorv1.Process{Tgid: other, ExecId: "b"}},
				event(actor, Sharing, func(ev *spoorv1.Event) {
					ev.Fact = &spoorv1.Event_Share{Share: &spoorv1.Share{Kind: spoorv1.Share_KIND_MEMORY, OtherExecId: "b"}}
				}),
			},
		},
		{
			name: "shares with nobody known", facts: []Expectation{shares},
			events: []*spoorv1.Event{event(actor, Sharing, func(ev *spoorv1.Event) {
				ev.Fact = &spoorv1.Event_Share{Share: &spoorv1.Share{Kind: spoorv1.Share_KIND_MEMORY, OtherExecId: "c"}}
			})},
			want: []string{"no such event"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Result{Facts: c.facts, Forbidden: c.forbidden}
			report := r.Judge(c.events, c.kinds...)
			lines := strings.Split(strings.TrimSpace(report.String()), "\n")
			if report.OK() {
				lines = nil
			}
			if len(lines) != len(c.want) {
				t.Fatalf("%d problems instead of %d:\n%s", len(lines), len(c.want), report)
			}
			for i, want := range c.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("problem is\n%s, want\n%s", lines[i], want)
				}
			}
		})
	}
}
