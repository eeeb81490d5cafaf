// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	pipe = render.Style{Now: noon.Add(time.Hour)}
)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it):\n%s", file, diff)
	}
}

// written runs write into a buffer.
func written(t *testing.T, write func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func after(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }

func instance(namespace, kind, name string) *spoorv1.Instance {
	return &spoorv1.Instance{Id: "i-" + name, Workload: &spoorv1.Workload{Namespace: namespace, Kind: kind, Name: name}}
}

// hostile is what a process can put into its name, its arguments and its paths to reach a terminal.
const hostile = "\x1b]0;owned\a\x1b[2J\x1b[31mred\r\n\t\u202egpj.exe\u0085\u009b31m\x7f\xff\xfe\u200b\\"

// valid is s as it stands in a string field, which holds UTF-8 only.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// scene is a little day in the life of a node.
func scene() []*spoorv1.Event {
	forked := &spoorv1.Process{ExecId: "zzzzyyyyxxxxwwww", Tgid: 4242, Comm: "bash"}
	shell := &spoorv1.Process{
		ExecId: "aaaabbbbccccdddd", ParentExecId: "zzzzyyyyxxxxwwww", Tgid: 4242, Comm: "sh", Exe: "/usr/bin/dash",
		Args: []string{"sh", "-c", "echo 'hello there' > /var/tmp/spoor-demo"},
	}
	python := &spoorv1.Process{ExecId: "eeeeffffgggghhhh", Tgid: 4300, Comm: "python3", Exe: "/usr/bin/python3.11", Args: []string{"python3", "-m", "http.server", "8099"}}
	curl := &spoorv1.Process{ExecId: "iiiijjjjkkkkllll", Tgid: 4301, Comm: "curl", Exe: "/usr/bin/curl", Args: []string{"curl", "-s", "127.0.0.1:8099"}, ArgsTruncated: true}
	evil := &spoorv1.Process{
		ExecId: "mmmmnnnnoooopppp", Tgid: 666, Comm: valid(hostile), Exe: "/tmp/" + valid(hostile),
		Args: []string{"x"}, ArgsRaw: []byte("x\x00" + hostile + "\x00it's\x00"),
	}
	session, unit := instance("node-a", "Session", "user-0"), instance("node-a", "Unit", "web.service")
	pod := instance("shop", "Deployment", "checkout")
	pod.Workload.Cluster = "prod"
	demo := &spoorv1.File{Path: "/var/tmp/spoor-demo", Inode: 12, StorageClass: spoorv1.StorageClass_STORAGE_CLASS_HOST}
	event := func(at time.Duration, kind string, in *spoorv1.Instance, p *spoorv1.Process, fill func(*spoorv1.Event)) *spoorv1.Event {
		ev := &spoorv1.Event{Time: after(at), Node: "node-a", Kind: kind, Instance: in, Process: p}
		fill(ev)
		return ev
	}
	write := func(at time.Duration, in *spoorv1.Instance, p *spoorv1.Process, w *spoorv1.FileWrite) *spoorv1.Event {
		return event(at, "file_write", in, p, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_FileWrite{FileWrite: w} })
	}
	change := func(at time.Duration, c *spoorv1.FileChange) *spoorv1.Event {
		return event(at, "file_change", pod, python, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_FileChange{FileChange: c} })
	}
	flow := func(at time.Duration, in *spoorv1.Instance, p *spoorv1.Process, f *spoorv1.Flow) *spoorv1.Event {
		return event(at, "flow", in, p, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_Flow{Flow: f} })
	}
	start := func(at time.Duration, in *spoorv1.Instance, p *spoorv1.Process, c spoorv1.ProcessStart_Cause) *spoorv1.Event {
		return event(at, "process_start", in, p, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: c}}
		})
	}
	exit := func(at time.Duration, in *spoorv1.Instance, p *spoorv1.Process, x *spoorv1.ProcessExit) *spoorv1.Event {
		return event(at, "process_exit", in, p, func(ev *spoorv1.Event) { ev.Fact = &spoorv1.Event_ProcessExit{ProcessExit: x} })
	}
	const tcp, udp = spoorv1.Transport_TRANSPORT_TCP, spoorv1.Transport_TRANSPORT_UDP
	const in, out = spoorv1.Direction_DIRECTION_INBOUND, spoorv1.Direction_DIRECTION_OUTBOUND
	payments := &spoorv1.Workload{Cluster: "prod", Namespace: "shop", Kind: "Deployment", Name: "payments"}
	return []*spoorv1.Event{
		event(0, "coverage", nil, nil, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_Coverage{Coverage: &spoorv1.Coverage{Sensor: "file", Tier: "base", Reason: "fentry is refused: renames, links and unlinks are not seen"}}
		}),
		start(time.Second, session, forked, spoorv1.ProcessStart_CAUSE_FORK),
		start(1002*time.Millisecond, session, shell, spoorv1.ProcessStart_CAUSE_EXEC),
		write(1010*time.Millisecond, session, shell, &spoorv1.FileWrite{File: demo, SizeAfter: 6, Changes: 1, Data: true}),
		exit(1020*time.Millisecond, session, shell, &spoorv1.ProcessExit{}),
		start(2*time.Second, unit, python, spoorv1.ProcessStart_CAUSE_FOUND),
		event(3*time.Second, "listen", unit, python, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_Listen{Listen: &spoorv1.Listen{Transport: tcp, Local: &spoorv1.Endpoint{Address: "0.0.0.0", Port: 8099}}}
		}),
		flow(4*time.Second, session, curl, &spoorv1.Flow{
			Transport: tcp, Direction: out, Peer: &spoorv1.Endpoint{Address: "127.0.0.1", Port: 8099, Workload: unit.GetWorkload(), ExecId: python.GetExecId()},
			Opened: 1, Closed: 1, BytesSent: 82, BytesReceived: 123456,
		}),
		flow(4*time.Second, unit, python, &spoorv1.Flow{
			Transport: tcp, Direction: in, Local: &spoorv1.Endpoint{Address: "127.0.0.1", Port: 8099}, Peer: &spoorv1.Endpoint{Address: "127.0.0.1"},
			Opened: 3, Closed: 3, BytesSent: 123456, BytesReceived: 82,
		}),
		flow(5*time.Second, pod, python, &spoorv1.Flow{Transport: tcp, Direction: out, Peer: &spoorv1.Endpoint{Address: "2001:db8::7", Port: 8443, Workload: payments}, Refused: 12}),
		flow(5*time.Second, pod, python, &spoorv1.Flow{Transport: udp, Direction: out, Peer: &spoorv1.Endpoint{Address: "192.0.2.9", Port: 443, DnsName: "api.example.com"}, Opened: 1, TimedOut: 2, BytesSent: 1200}),
		event(6*time.Second, "dns", pod, python, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_Dns{Dns: &spoorv1.Dns{Name: "api.example.com", Addresses: []string{"192.0.2.9", "192.0.2.10"}}}
		}),
		write(7*time.Second, pod, python, &spoorv1.FileWrite{
			File: &spoorv1.File{Path: "/cache/a.db", StorageClass: spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME, Unlinked: true}, First: after(5 * time.Second), Last: after(7 * time.Second),
			SizeBefore: 4096, SizeAfter: 8 << 20, Changes: 1040, Data: true,
		}),
		write(7*time.Second, pod, python, &spoorv1.FileWrite{File: &spoorv1.File{Path: "deep/down", PathTruncated: true, StorageClass: spoorv1.StorageClass_STORAGE_CLASS_TMPFS}, Changes: 1}),
		change(8*time.Second, &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_RENAME, File: demo, TargetPath: "/var/tmp/final"}),
		change(8*time.Second, &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_UNLINK, File: demo}),
		event(8*time.Second, "share", pod, python, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_Share{Share: &spoorv1.Share{Kind: spoorv1.Share_KIND_MEMORY, Other: payments}}
		}),
		write(9*time.Second, unit, evil, &spoorv1.FileWrite{File: &spoorv1.File{Path: "/tmp/�", PathRaw: []byte("/tmp/" + hostile)}, Changes: 2, Data: true, SizeAfter: 1, SizeBefore: 1}),
		start(9*time.Second, unit, evil, spoorv1.ProcessStart_CAUSE_EXEC),
		exit(10*time.Second, unit, evil, &spoorv1.ProcessExit{Signal: 9}),
		exit(10*time.Second, unit, python, &spoorv1.ProcessExit{ExitCode: 137}),
		event(11*time.Second, "loss", nil, nil, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_Loss{Loss: &spoorv1.Loss{Source: "file", Reason: "name_unreadable", Count: 1234}}
		}),
		flow(12*time.Second, unit, python, &spoorv1.Flow{Transport: tcp, Direction: out, Peer: &spoorv1.Endpoint{Address: "203.0.113.8", Port: 443, Unknown: spoorv1.Endpoint_UNKNOWN_OUTSIDE}, BytesSent: 10}),
		flow(12*time.Second, unit, python, &spoorv1.Flow{Transport: tcp, Direction: out, Peer: &spoorv1.Endpoint{Address: "10.0.0.9", Port: 443, Unknown: spoorv1.Endpoint_UNKNOWN_NOT_YET}}),
		flow(12*time.Second, unit, python, &spoorv1.Flow{
			Transport: tcp, Direction: in, Local: &spoorv1.Endpoint{Port: 8080}, Peer: &spoorv1.Endpoint{Address: "10.99.0.13", Unknown: spoorv1.Endpoint_UNKNOWN_NO_AGENT}, Opened: 2,
		}),
		flow(12*time.Second, unit, python, &spoorv1.Flow{Transport: tcp, Direction: out, Peer: &spoorv1.Endpoint{Address: "10.0.0.9", Port: 444, Unknown: spoorv1.Endpoint_UNKNOWN_NO_ANSWER}, Refused: 1}),
	}
}
