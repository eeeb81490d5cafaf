// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// The words with which tests tell what workloads do. A scene is a Judge and a clock.

const checkoutContract = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  owner: {team: payments, oncall: payments-primary}
  scratch:
    - {path: /tmp/**, maxAge: 10m, maxBytes: 1Mi}
    - {path: /run/app, maxAge: 1d}
  volumes: [{path: /var/cache/tpl, class: cache}]
  listens: [{port: 8443}]
  callers:
    - {workload: Deployment/frontend, port: 8443}
    - {cidr: 10.9.0.0/16}
  calls:
    - {workload: Deployment/payments, port: 8443}
    - {dns: "*.stripe.com", port: 443}
    - {cidr: 10.20.0.0/16, port: 5432, purpose: backing-service}
`

const batchContract = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: batch}
spec:
  workload: {kind: Unit, name: batch.service}
  state: stateless
  scratch: [{path: /tmp/**, maxAge: 10m}]
  calls: [{workload: Unit/db.service, port: 5432}]
`

var (
	checkout = &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "checkout"}
	payments = &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "payments"}
	frontend = &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "frontend"}
	stranger = &spoorv1.Workload{Cluster: "east", Namespace: "lab", Kind: "Deployment", Name: "stranger"}
	batch    = &spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "batch.service"}

	dawn = time.Date(2026, 5, 1, 6, 0, 0, 0, time.UTC)
)

type scene struct {
	t     *testing.T
	judge *Judge
	now   time.Time
	// What every event says until it is told otherwise.
	workload *spoorv1.Workload
	instance string
	tgid     uint32
	last     []Verdict
}

func newScene(t *testing.T, contracts ...string) *scene {
	t.Helper()
	limits := DefaultLimits()
	limits.Settle = 0 // most tests are about what is found, not when
	return newSceneWithLimits(t, limits, contracts...)
}

func newSceneWithLimits(t *testing.T, limits Limits, contracts ...string) *scene {
	t.Helper()
	s := &scene{
		t: t, judge: NewJudgeWithLimits(mustSet(t, contracts...), limits), now: dawn,
		workload: stranger, instance: "s0", tgid: 99,
	}
	// The node is one that reports changes of names.
	s.sees(create(inode("/somewhere/else", 1<<40, layer)))
	s.workload, s.instance, s.tgid = checkout, "i1", 100
	return s
}

// blind makes the node one that has reported no change of a name yet.
func (s *scene) blind() { s.judge.renamers.remove("node1") }

// after lets time pass without a tick.
func (s *scene) after(d time.Duration) *scene {
	s.now = s.now.Add(d)
	return s
}

// tick lets time pass and says so.
func (s *scene) tick(d time.Duration, want ...string) {
	s.t.Helper()
	s.now = s.now.Add(d)
	s.expect("tick", s.judge.Tick(s.now), want)
}

// sees hands an event to the judge and compares the verdicts, written as "rule subject" with what makes them
// special in front or behind.
func (s *scene) sees(fact any, want ...string) {
	s.t.Helper()
	ev := s.event(fact)
	s.expect(ev.GetKind(), s.judge.Observe(ev), want)
}

// soon is sees, with the time that unknown peers are waited for.
func (s *scene) soon(fact any, want ...string) {
	s.t.Helper()
	got := s.judge.Observe(s.event(fact))
	s.now = s.now.Add(s.judge.limits.Grace)
	s.expect("soon", append(got, s.judge.Tick(s.now)...), want)
}

func (s *scene) expect(what string, got []Verdict, want []string) {
	s.t.Helper()
	s.last = got
	var told []string
	for i := range got {
		told = append(told, tale(&got[i]))
	}
	if diff := cmp.Diff(want, told); diff != "" {
		s.t.Errorf("%s at %s:\n%s", what, s.now.Sub(dawn), diff)
	}
}

func tale(v *Verdict) string {
	if v.Cleared {
		return fmt.Sprintf("cleared %s %s", v.Rule, v.Subject)
	}
	return fmt.Sprintf("%s %s %s", strings.ToLower(strings.TrimPrefix(v.Severity.String(), "SEVERITY_")), v.Rule, v.Subject)
}

func (s *scene) event(fact any) *spoorv1.Event {
	s.t.Helper()
	ev := &spoorv1.Event{
		Node: "node1", Time: timestamppb.New(s.now),
		Instance: &spoorv1.Instance{Id: s.instance, Workload: s.workload},
		Process:  &spoorv1.Process{Tgid: s.tgid, Comm: "app", Exe: "/usr/bin/app"},
	}
	switch f := fact.(type) {
	case *spoorv1.FileWrite:
		ev.Kind, ev.Fact = "file_write", &spoorv1.Event_FileWrite{FileWrite: f}
	case *spoorv1.Share:
		ev.Kind, ev.Fact = "share", &spoorv1.Event_Share{Share: f}
	case *spoorv1.FileChange:
		ev.Kind, ev.Fact = "file_change", &spoorv1.Event_FileChange{FileChange: f}
	case *spoorv1.Flow:
		ev.Kind, ev.Fact = "flow", &spoorv1.Event_Flow{Flow: f}
	case *spoorv1.Listen:
		ev.Kind, ev.Fact = "listen", &spoorv1.Event_Listen{Listen: f}
	case *spoorv1.Dns:
		ev.Kind, ev.Fact = "dns", &spoorv1.Event_Dns{Dns: f}
	case *spoorv1.Coverage:
		ev.Kind, ev.Fact = "coverage", &spoorv1.Event_Coverage{Coverage: f}
	case *spoorv1.ProcessStart:
		ev.Kind, ev.Fact = "process_start", &spoorv1.Event_ProcessStart{ProcessStart: f}
	case *spoorv1.ProcessExit:
		ev.Kind, ev.Fact = "process_exit", &spoorv1.Event_ProcessExit{ProcessExit: f}
	case *spoorv1.Loss:
		ev.Kind, ev.Fact = "loss", &spoorv1.Event_Loss{Loss: f}
	default:
		s.t.Fatalf("no event of %T", fact)
	}
	return ev
}

const (
	layer    = spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
	emptyDir = spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME
	claim    = spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME
	hostPath = spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH
	tmpfs    = spoorv1.StorageClass_STORAGE_CLASS_TMPFS
	disk     = spoorv1.StorageClass_STORAGE_CLASS_HOST
)

func inode(path string, number uint64, class spoorv1.StorageClass) *spoorv1.File {
	return &spoorv1.File{Path: path, Dev: 8 << 20, Inode: number, Generation: 1, FsType: "ext4", StorageClass: class}
}

// write is a summary of writes to a file that is 100 bytes long afterwards.
func write(f *spoorv1.File) *spoorv1.FileWrite { return writeSize(f, 100) }

func writeSize(f *spoorv1.File, size uint64) *spoorv1.FileWrite {
	return &spoorv1.FileWrite{File: f, Changes: 1, SizeAfter: size, Data: true}
}

func unlinked(f *spoorv1.File) *spoorv1.File {
	g := inode(f.GetPath(), f.GetInode(), f.GetStorageClass())
	g.Unlinked = true
	return g
}

func create(f *spoorv1.File) *spoorv1.FileChange {
	return &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_CREATE, File: f}
}

func unlink(f *spoorv1.File) *spoorv1.FileChange {
	return &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_UNLINK, File: f}
}

func rename(f *spoorv1.File, to string) *spoorv1.FileChange {
	return &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_RENAME, File: f, TargetPath: to}
}

func link(f *spoorv1.File, to string) *spoorv1.FileChange {
	return &spoorv1.FileChange{Operation: spoorv1.FileChange_OPERATION_LINK, File: f, TargetPath: to}
}

// call is a connection to a peer that is known by address alone.
func call(address string, port uint32) *spoorv1.Flow {
	return &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND,
		Local: &spoorv1.Endpoint{Address: "10.1.0.7"}, Peer: &spoorv1.Endpoint{Address: address, Port: port}, Opened: 1,
	}
}

func callOf(w *spoorv1.Workload, address string, port uint32) *spoorv1.Flow {
	f := call(address, port)
	f.Peer.Workload = w
	return f
}

func callNamed(name, address string, port uint32) *spoorv1.Flow {
	f := call(address, port)
	f.Peer.DnsName = name
	return f
}

func udp(f *spoorv1.Flow) *spoorv1.Flow {
	f.Transport = spoorv1.Transport_TRANSPORT_UDP
	return f
}

// calledBy is a connection that was accepted on a port.
func calledBy(w *spoorv1.Workload, address string, port uint32) *spoorv1.Flow {
	return &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_INBOUND,
		Local: &spoorv1.Endpoint{Address: "10.1.0.7", Port: port}, Peer: &spoorv1.Endpoint{Address: address, Workload: w}, Opened: 1,
	}
}

func listens(address string, port uint32) *spoorv1.Listen {
	return &spoorv1.Listen{Transport: spoorv1.Transport_TRANSPORT_TCP, Local: &spoorv1.Endpoint{Address: address, Port: port}}
}

func closed(l *spoorv1.Listen) *spoorv1.Listen {
	l.Closed = true
	return l
}
