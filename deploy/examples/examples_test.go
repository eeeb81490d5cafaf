// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/deploy/examples"
)

// What demo.yaml promises: a file that stays for 15 seconds is a finding, a call to port 8765 is one, and nothing else.
func TestDemo(t *testing.T) {
	set, err := contract.Load(examples.Files)
	if err != nil {
		t.Fatal(err)
	}
	judge := contract.NewJudge(set)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	event := func(after time.Duration, fill func(*spoorv1.Event)) *spoorv1.Event {
		ev := &spoorv1.Event{
			Time: timestamppb.New(start.Add(after)), Node: "host",
			Instance: &spoorv1.Instance{Id: "i", Workload: &spoorv1.Workload{Namespace: "host", Kind: "Session", Name: "uid-1000"}},
			Process:  &spoorv1.Process{ExecId: "aaaaaaaaaaaaaaaa", Comm: "sh"},
		}
		fill(ev)
		return ev
	}
	write := func(path string, inode uint64) *spoorv1.Event {
		return event(0, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{
				File: &spoorv1.File{Path: path, Inode: inode, StorageClass: spoorv1.StorageClass_STORAGE_CLASS_HOST}, SizeAfter: 6, Data: true,
				First: timestamppb.New(start), Last: timestamppb.New(start),
			}}
		})
	}
	call := func(address string, port uint32) *spoorv1.Event {
		return event(time.Second, func(ev *spoorv1.Event) {
			ev.Fact = &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
				Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, Refused: 1,
				Peer: &spoorv1.Endpoint{Address: address, Port: port},
			}}
		})
	}
	var got []string
	take := func(verdicts []contract.Verdict) {
		for _, v := range verdicts {
			if !v.Cleared {
				got = append(got, v.Rule)
			}
		}
	}
	for _, ev := range []*spoorv1.Event{
		write("/var/tmp/spoor-demo", 1), write("/var/tmp/other", 2), write("/home/alice/notes", 3),
		call("127.0.0.1", 8764), call("192.0.2.1", 443), call("2001:db8::1", 8766), call("127.0.0.1", 8765),
	} {
		take(judge.Observe(ev))
	}
	if len(got) != 0 {
		t.Fatalf("too early: %v", got)
	}
	take(judge.Tick(start.Add(time.Minute)))
	slices.Sort(got)
	if want := []string{"flow.egress", "state.local"}; !slices.Equal(got, want) {
		t.Fatalf("after a minute: %v, want %v", got, want)
	}
}
