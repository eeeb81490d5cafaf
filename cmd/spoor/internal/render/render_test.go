// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

func TestEvents(t *testing.T) {
	narrow, wide, colour := pipe, pipe, pipe
	narrow.Width, wide.Width = 80, 160
	colour.Color = true
	for name, style := range map[string]render.Style{
		"events-pipe.golden": pipe, "events-80.golden": narrow, "events-160.golden": wide, "events-colour.golden": colour,
	} {
		got := written(t, func(b *bytes.Buffer) error { return render.Events(b, style, scene()) })
		golden(t, name, got)
		fits(t, name, got, style.Width)
	}
}

func TestEventStream(t *testing.T) {
	style := pipe
	style.Width = 120
	got := written(t, func(b *bytes.Buffer) error {
		stream, err := render.NewEventStream(b, style)
		if err != nil {
			return err
		}
		for _, ev := range scene() {
			if err := stream.Write(ev); err != nil {
				return err
			}
		}
		return nil
	})
	golden(t, "stream-120.golden", got)
	fits(t, "stream", got, style.Width)
}

// fits fails when a line is wider than the terminal.
func fits(t *testing.T, name string, out []byte, columns int) {
	t.Helper()
	if columns == 0 {
		return
	}
	for line := range strings.Lines(string(out)) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
			t.Errorf("%s: a line takes %d of %d columns: %s", name, n, columns, line)
		}
	}
}

func TestEventsJSON(t *testing.T) {
	golden(t, "events.json.golden", written(t, func(b *bytes.Buffer) error {
		for _, ev := range scene() {
			if err := render.JSON(b, ev); err != nil {
				return err
			}
		}
		return nil
	}))
}

// The web page says the same sentences in another language: its test reads both of these files.
func TestSentences(t *testing.T) {
	golden(t, "sentences.golden", written(t, func(b *bytes.Buffer) error {
		for _, ev := range scene() {
			b.WriteString(render.Sentence(ev) + "\n")
		}
		return nil
	}))
}

func findings() []*spoorv1.Finding {
	events := scene()
	return []*spoorv1.Finding{
		{
			Id: "3f2a9c01", Fingerprint: "3f2a9c01d4", Rule: "state.local", Severity: spoorv1.Severity_SEVERITY_HIGH,
			Workload: &spoorv1.Workload{Cluster: "prod", Namespace: "shop", Kind: "Deployment", Name: "checkout"},
			Owner:    &spoorv1.Owner{Team: "payments", Oncall: "payments-primary"},
			Title:    "checkout keeps /cache/a.db in an emptyDir for 11 minutes; its contract allows 10.",
			Why:      "The file is lost at the next restart, and no other replica has it.",
			Fix:      "Keep it in a backing service, or declare /cache/** as a volume of class cache in the contract shop/checkout.",
			Subject:  "/cache/a.db", State: spoorv1.FindingState_FINDING_STATE_OPEN, Contract: "shop/checkout",
			FirstSeen: after(7 * time.Second), LastSeen: after(8 * time.Minute), Count: 1040, EvidenceIds: []uint64{13},
			Completeness: &spoorv1.Completeness{Gaps: []string{"node-a: 1234 file names lost (name_unreadable)"}},
		},
		{
			Id: "77b0e1aa", Rule: "flow.egress", Severity: spoorv1.Severity_SEVERITY_MEDIUM,
			Workload: events[1].GetInstance().GetWorkload(), Title: "user-0 calls " + hostile, State: spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED,
			FirstSeen: after(-30 * time.Hour), LastSeen: after(-29 * time.Hour), Count: 1, Note: "alice: known, see the runbook", StateChanged: after(-28 * time.Hour),
			Completeness: &spoorv1.Completeness{Complete: true},
		},
	}
}

func TestFindings(t *testing.T) {
	style := pipe
	style.Width = 120
	out := written(t, func(b *bytes.Buffer) error { return render.Findings(b, style, findings()) })
	golden(t, "findings-120.golden", out)
	fits(t, "findings", out, style.Width)
	style.Width = 100
	golden(t, "finding.golden", written(t, func(b *bytes.Buffer) error {
		return render.Finding(b, style, findings()[0], scene()[12:13])
	}))
	golden(t, "finding-acknowledged.golden", written(t, func(b *bytes.Buffer) error {
		return render.Finding(b, style, findings()[1], nil)
	}))
}

func TestEdges(t *testing.T) {
	workload := func(name string) *spoorv1.Workload {
		return &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: name}
	}
	edges := []*spoorv1.Edge{
		{
			From: &spoorv1.Endpoint{Workload: workload("frontend")}, To: &spoorv1.Endpoint{Workload: workload("checkout"), Port: 8443}, Transport: spoorv1.Transport_TRANSPORT_TCP,
			FirstSeen: after(-48 * time.Hour), LastSeen: after(0), Opened: 1234567, BytesSent: 3 << 30, BytesReceived: 12 << 20, SeenByCaller: true, SeenByCalled: true,
		},
		{
			From: &spoorv1.Endpoint{Workload: workload("checkout")}, To: &spoorv1.Endpoint{DnsName: "api.example.com", Address: "192.0.2.9", Port: 443}, Transport: spoorv1.Transport_TRANSPORT_TCP,
			FirstSeen: after(-time.Minute), LastSeen: after(0), Opened: 3, Refused: 1, TimedOut: 2, SeenByCaller: true,
		},
		{From: &spoorv1.Endpoint{Address: "203.0.113.8"}, To: &spoorv1.Endpoint{Workload: workload("frontend"), Port: 443}, Transport: spoorv1.Transport_TRANSPORT_UDP, SeenByCalled: true},
	}
	golden(t, "edges-pipe.golden", written(t, func(b *bytes.Buffer) error { return render.Edges(b, pipe, edges) }))
	style := pipe
	style.Width = 100
	out := written(t, func(b *bytes.Buffer) error { return render.Edges(b, style, edges) })
	golden(t, "edges-100.golden", out)
	fits(t, "edges", out, style.Width)
}

func TestTree(t *testing.T) {
	node := func(depth int32, id, parent string, tgid uint32, comm string, args ...string) *spoorv1.TreeNode {
		p := &spoorv1.Process{ExecId: id, ParentExecId: parent, Tgid: tgid, Comm: comm, Args: args, StartTime: after(0)}
		if len(args) > 0 {
			p.Exe = "/usr/bin/" + args[0]
		}
		return &spoorv1.TreeNode{Process: p, Depth: depth, Node: "node-a"}
	}
	ended := func(n *spoorv1.TreeNode, d time.Duration, x *spoorv1.ProcessExit) *spoorv1.TreeNode {
		n.ExitTime, n.Exit = after(d), x
		return n
	}
	golden(t, "tree.golden", written(t, func(b *bytes.Buffer) error {
		return render.Tree(b, pipe, []*spoorv1.TreeNode{
			node(-3, "systemd1", "", 1, "systemd", "systemd"),
			node(-2, "sshdfork", "systemd1", 800, "systemd"),
			node(-1, "sshd2345", "sshdfork", 800, "sshd", "sshd", "-D"),
			node(0, "bash3456", "sshd2345", 900, "bash", "bash"),
			node(1, "forkaaaa", "bash3456", 901, "bash"),
			ended(node(2, "makeaaaa", "forkaaaa", 901, "make", "make", "all", "CFLAGS=-O2 -g"), 3*time.Minute, &spoorv1.ProcessExit{ExitCode: 2}),
			node(3, "cc1aaaaa", "makeaaaa", 902, "make"),
			ended(node(4, "cc1bbbbb", "cc1aaaaa", 902, "cc1", "cc1", "x.c"), 1500*time.Millisecond, &spoorv1.ProcessExit{Signal: 11}),
			ended(node(3, "sub12345", "makeaaaa", 903, "make"), 20*time.Millisecond, &spoorv1.ProcessExit{}),
			node(1, "evil2345", "bash3456", 950, hostile, hostile),
		})
	}))
	golden(t, "tree-broken.golden", written(t, func(b *bytes.Buffer) error {
		return render.Tree(b, pipe, []*spoorv1.TreeNode{node(0, "a", "", 1, "a"), node(7, "b", "x", 2, "b"), node(3, "c", "x", 3, "c"), node(-2, "d", "", 4, "d")})
	}))
	golden(t, "tree-empty.golden", written(t, func(b *bytes.Buffer) error { return render.Tree(b, pipe, nil) }))
}

func TestTimeline(t *testing.T) {
	events := scene()
	for i := range 3 {
		again := scene()[3]
		again.Time = after(time.Duration(20+i) * time.Second)
		events = append(events, again)
	}
	late := scene()[20]
	late.Time = after(26 * time.Hour)
	events = append(events, late)
	golden(t, "timeline-pipe.golden", written(t, func(b *bytes.Buffer) error {
		return render.Timeline(b, pipe, events, findings())
	}))
	style := pipe
	style.Width = 90
	out := written(t, func(b *bytes.Buffer) error { return render.Timeline(b, style, events, findings()[:1]) })
	golden(t, "timeline-90.golden", out)
	fits(t, "timeline", out, style.Width)
}

func TestStatus(t *testing.T) {
	status := &spoorv1.GetStatusResponse{
		Version: "v0.1.0", Events: 1234567, StoreBytes: 123 << 20, Oldest: after(-50 * time.Hour),
		Completeness: &spoorv1.Completeness{Gaps: []string{"node-b: silent since 11:58", "node-a: 1234 file names lost (name_unreadable)"}},
		Agents: []*spoorv1.AgentStatus{
			{Node: "node-a", Version: "v0.1.0", KernelRelease: "6.18.0", StartTime: after(-time.Hour), LastSeen: after(0), Connected: true, Acknowledged: 1, Coverage: []*spoorv1.Coverage{
				{Sensor: "process", Tier: "full"},
				{Sensor: "file", Tier: "base", Reason: "fentry is refused by this kernel: renames, links and unlinks are not seen"},
				{Sensor: "dns", Tier: "off", Reason: "not asked for"},
			}},
			{Cluster: "prod", Node: "node-b", KernelRelease: "5.10.0", StartTime: after(-time.Hour), LastSeen: after(-2 * time.Minute), Acknowledged: 9000},
		},
	}
	style := pipe
	style.Width = 80
	golden(t, "status-80.golden", written(t, func(b *bytes.Buffer) error { return render.Status(b, style, status) }))
	golden(t, "status-empty.golden", written(t, func(b *bytes.Buffer) error {
		return render.Status(b, style, &spoorv1.GetStatusResponse{Completeness: &spoorv1.Completeness{Complete: true}})
	}))
}

func TestSQL(t *testing.T) {
	text := func(s string) *spoorv1.SQLValue { return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Text{Text: s}} }
	answer := &spoorv1.RunSQLResponse{Columns: []string{"count(*)", "comm", "share", "hash", "note"}, Rows: []*spoorv1.SQLRow{
		{Values: []*spoorv1.SQLValue{
			{Value: &spoorv1.SQLValue_Integer{Integer: 9007199254740993}},
			text("nginx"),
			{Value: &spoorv1.SQLValue_Real{Real: 0.25}},
			{Value: &spoorv1.SQLValue_Blob{Blob: []byte{0xde, 0xad}}},
			{Value: &spoorv1.SQLValue_Null{Null: true}},
		}},
		{Values: []*spoorv1.SQLValue{{Value: &spoorv1.SQLValue_Integer{Integer: -1}}, text(hostile), {Value: &spoorv1.SQLValue_Real{Real: 1e300}}, text("<b>&"), {}}},
	}}
	golden(t, "sql.golden", written(t, func(b *bytes.Buffer) error { return render.SQL(b, pipe, answer) }))
	golden(t, "sql.json.golden", written(t, func(b *bytes.Buffer) error { return render.SQLJSON(b, answer) }))
	golden(t, "sql-empty.golden", written(t, func(b *bytes.Buffer) error {
		return render.SQL(b, pipe, &spoorv1.RunSQLResponse{Columns: []string{"a"}})
	}))
}

func TestBoard(t *testing.T) {
	board := render.NewBoard(6, 4300, noon)
	news := board.Add(noon.Add(time.Second), scene()...)
	if again := board.Add(noon.Add(2*time.Second), scene()[21]); len(again) != 0 {
		t.Errorf("a fact that is on the board already is told as new: %v", again)
	}
	style := pipe
	style.Width = 100
	var b bytes.Buffer
	b.WriteString(board.Heading(style, noon.Add(4*time.Second), 2) + "\n")
	for _, line := range board.Table(style, 20) {
		b.WriteString(line + "\n")
	}
	fits(t, "board", b.Bytes(), style.Width)
	b.WriteString("\nnew:\n")
	for _, ev := range news {
		b.WriteString(render.Sentence(ev) + "\n")
	}
	golden(t, "board.golden", b.Bytes())
	if n := len(board.Table(style, 3)); n != 3 {
		t.Errorf("a table of height 3 has %d lines", n)
	}
	narrow := style
	narrow.Width = 30
	fits(t, "heading", []byte(board.Heading(narrow, noon.Add(4*time.Second), 2)), 30)
}

func TestBoardForgetsTheRateOfThePast(t *testing.T) {
	board := render.NewBoard(4, 0, noon)
	board.Add(noon.Add(time.Second), scene()...)
	if r := board.Rate(noon.Add(time.Minute)); r != 0 {
		t.Errorf("rate a minute after the last event is %v", r)
	}
}

// Nothing that a process chose may reach a terminal as anything but text.
func TestNoRenderingEmitsWhatATerminalActsUpon(t *testing.T) {
	tree := []*spoorv1.TreeNode{}
	for _, ev := range scene() {
		if ev.GetProcess() != nil {
			tree = append(tree, &spoorv1.TreeNode{Process: ev.GetProcess(), Instance: ev.GetInstance()})
		}
	}
	evilWorkload := &spoorv1.Workload{Cluster: "c" + hostile, Namespace: "n" + hostile, Kind: "k" + hostile, Name: hostile}
	evilEnd := &spoorv1.Endpoint{Address: hostile, DnsName: hostile}
	f := findings()[0]
	f.Title, f.Why, f.Fix, f.Subject, f.Note, f.Rule, f.Id, f.Contract, f.Workload = hostile, hostile, hostile, hostile, hostile, hostile, hostile, hostile, evilWorkload
	f.Owner = &spoorv1.Owner{Team: hostile, Oncall: hostile}
	f.Completeness = &spoorv1.Completeness{Gaps: []string{hostile}}
	evilEvents := append(scene(),
		&spoorv1.Event{Node: hostile, Kind: hostile},
		&spoorv1.Event{Instance: &spoorv1.Instance{Workload: evilWorkload}, Fact: &spoorv1.Event_Flow{Flow: &spoorv1.Flow{Peer: evilEnd}}},
		&spoorv1.Event{Fact: &spoorv1.Event_Dns{Dns: &spoorv1.Dns{Name: hostile, Addresses: []string{hostile}}}},
		&spoorv1.Event{Fact: &spoorv1.Event_Listen{Listen: &spoorv1.Listen{Local: evilEnd}}},
		&spoorv1.Event{Fact: &spoorv1.Event_Loss{Loss: &spoorv1.Loss{Source: hostile, Reason: hostile, Count: 1}}},
		&spoorv1.Event{Fact: &spoorv1.Event_Coverage{Coverage: &spoorv1.Coverage{Sensor: hostile, Tier: hostile, Reason: hostile}}},
		&spoorv1.Event{Fact: &spoorv1.Event_Share{Share: &spoorv1.Share{Other: evilWorkload, File: &spoorv1.File{Path: hostile}}}},
		&spoorv1.Event{Fact: &spoorv1.Event_FileChange{FileChange: &spoorv1.FileChange{TargetPath: hostile, Operation: spoorv1.FileChange_OPERATION_LINK}}},
	)
	for _, width := range []int{0, 60, 100} {
		style := render.Style{Width: width, Now: noon}
		for name, write := range map[string]func(*bytes.Buffer) error{
			"events":   func(b *bytes.Buffer) error { return render.Events(b, style, evilEvents) },
			"findings": func(b *bytes.Buffer) error { return render.Findings(b, style, []*spoorv1.Finding{f}) },
			"finding":  func(b *bytes.Buffer) error { return render.Finding(b, style, f, evilEvents) },
			"edges": func(b *bytes.Buffer) error {
				return render.Edges(b, style, []*spoorv1.Edge{{From: evilEnd, To: &spoorv1.Endpoint{Workload: evilWorkload}}})
			},
			"timeline": func(b *bytes.Buffer) error { return render.Timeline(b, style, evilEvents, []*spoorv1.Finding{f}) },
			"tree":     func(b *bytes.Buffer) error { return render.Tree(b, style, tree) },
			"json":     func(b *bytes.Buffer) error { return render.JSON(b, &spoorv1.Workload{Name: valid(hostile)}) },
			"sql": func(b *bytes.Buffer) error {
				return render.SQL(b, style, &spoorv1.RunSQLResponse{Columns: []string{hostile}, Rows: []*spoorv1.SQLRow{{Values: []*spoorv1.SQLValue{{Value: &spoorv1.SQLValue_Text{Text: hostile}}}}}})
			},
			"status": func(b *bytes.Buffer) error {
				return render.Status(b, style, &spoorv1.GetStatusResponse{Version: hostile, Completeness: f.GetCompleteness(), Agents: []*spoorv1.AgentStatus{
					{Node: hostile, Cluster: hostile, Version: hostile, KernelRelease: hostile, Coverage: []*spoorv1.Coverage{{Sensor: hostile, Tier: hostile, Reason: hostile}}},
				}})
			},
			"board": func(b *bytes.Buffer) error {
				board := render.NewBoard(100, 0, noon)
				board.Add(noon, evilEvents...)
				b.WriteString(board.Heading(style, noon, 1) + strings.Join(board.Table(style, 100), "\n") + board.Losses())
				return nil
			},
		} {
			harmless(t, name, written(t, write))
		}
	}
}

func harmless(t *testing.T, name string, out []byte) {
	t.Helper()
	if !utf8.Valid(out) {
		t.Errorf("%s: not UTF-8", name)
	}
	for _, r := range string(out) {
		switch {
		case r == '\n':
		case r < ' ', r >= 0x7f && r <= 0x9f, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			t.Errorf("%s: emits %U:\n%q", name, r, out)
			return
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain /path-1.txt": "plain /path-1.txt",
		"naïve 日本 €":        "naïve 日本 €",
		"a\x1b[31mb":        `a\x1b[31mb`,
		`back\slash`:        `back\\slash`,
		"line\nfeed\ttab\r": `line\nfeed\ttab\r`,
		"\xff\xc3":          `\xff\xc3`,
		"\u202eevil\u2069":  `\u202eevil\u2069`,
		"z\u0301\u0301algo": `z\u0301\u0301algo`,
		"blank\u3164letter": `blank\u3164letter`,
		"\U000e0041tag":     `\U000e0041tag`,
		"soft\u00adhyphen":  `soft\u00adhyphen`,
		"nul\x00":           `nul\x00`,
	} {
		if got := render.Printable(in); got != want {
			t.Errorf("Printable(%q) = %s, want %s", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, s string) {
		harmless(t, "Printable", []byte(strings.ReplaceAll(render.Printable(s), "\n", "\x00")))
	})
}

func TestCommandIsWhatAShellReadsBack(t *testing.T) {
	for want, p := range map[string]*spoorv1.Process{
		`/bin/sh -c 'echo hi'`:          {Exe: "/bin/sh", Args: []string{"sh", "-c", "echo hi"}},
		`/bin/x 'it'\''s' ''`:           {Exe: "/bin/x", Args: []string{"x", "it's", ""}},
		`/bin/x $'a\nb\'c\\d' …`:        {Exe: "/bin/x", Args: []string{"x", "a\nb'c\\d"}, ArgsTruncated: true},
		`kworker/0:1`:                   {Comm: "kworker/0:1"},
		`script.sh a`:                   {Args: []string{"script.sh", "a"}},
		`/bin/x $'\xff'`:                {Exe: "/bin/x", Args: []string{"x", "\ufffd"}, ArgsRaw: []byte("x\x00\xff\x00")},
		`$'/tmp/\x1b[2J (deleted)' arg`: {Exe: "/tmp/\x1b[2J (deleted)", Args: []string{"innocent", "arg"}},
	} {
		if got := render.Command(p); got != want {
			t.Errorf("Command(%v) = %s, want %s", p, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 12345 * time.Microsecond: "12ms", 4 * time.Second: "4s", 200 * time.Second: "3m20s", time.Hour: "1h",
		125 * time.Minute: "2h5m", 76 * time.Hour: "3d4h", 59*time.Second + 999*time.Millisecond: "60s",
	} {
		if got := render.Duration(d); got != want {
			t.Errorf("Duration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestTimesNameTheirDayUnlessItIsToday(t *testing.T) {
	zone := time.FixedZone("x", 13*60*60)
	style := render.Style{Now: noon, Zone: zone}
	got := written(t, func(b *bytes.Buffer) error {
		return render.Events(b, style, []*spoorv1.Event{{Time: timestamppb.New(noon), Kind: "loss"}, {Time: timestamppb.New(noon.Add(-2 * time.Hour)), Kind: "loss"}})
	})
	for _, want := range []string{"\n01:00:00.000 ", "\n2026-05-04 23:00:00.000 "} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
