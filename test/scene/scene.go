// SPDX-License-Identifier: Apache-2.0

// Package scene plays the agent of a node on which a known story happened, for tests of what people see: the
// command line and the web page. Its batches travel through AgentService.Ship like any agent's.
package scene

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Names of the story that tests ask for.
const (
	Node  = "node-a"
	Epoch = "epochofthescene"
	Demo  = "/var/tmp/spoor-demo"

	Systemd = "aaaaaaaaaaaaaaaa"
	Bash    = "baaaaaaaaaaaaaaa"
	Forked  = "caaaaaaaaaaaaaaa"
	Shell   = "daaaaaaaaaaaaaaa"
	Python  = "eaaaaaaaaaaaaaaa"
	Curl    = "faaaaaaaaaaaaaaa"
	Evil    = "gaaaaaaaaaaaaaaa"
)

// Hostile is what a process can put into its name to reach a terminal, a browser or a reader.
const Hostile = "\x1b[2J\x1b[31m<img src=x onerror=document.title='owned'>\u202egpj"

// Hello says who plays.
func Hello(start time.Time) *spoorv1.Hello {
	return &spoorv1.Hello{
		Node: Node, BootId: "00000000-0000-4000-8000-000000000000", Epoch: Epoch, StartTime: timestamppb.New(start),
		Version: "v0.0.0-scene", KernelRelease: "6.1.0", Architecture: "x86_64",
	}
}

// Story is a batch that grows.
type Story struct {
	Batch *spoorv1.Batch

	sequence uint64
	start    time.Time
	// Positions in the tables of the batch, from 1.
	instances, processes map[string]uint32
	instanceOf           map[string]string
}

// NewStory begins a story at start whose first event has the number after lastEvent.
func NewStory(start time.Time, batch, lastEvent uint64) *Story {
	return &Story{
		Batch: &spoorv1.Batch{Sequence: batch, Sent: timestamppb.Now()}, sequence: lastEvent, start: start,
		instances: map[string]uint32{}, processes: map[string]uint32{}, instanceOf: map[string]string{},
	}
}

// Instance introduces one life of a workload of the node.
func (s *Story) Instance(kind, name, cgroup string) string {
	id := kind + "-" + name
	s.Batch.Instances = append(s.Batch.Instances, &spoorv1.Instance{
		Id: id, CgroupPath: cgroup, StartTime: timestamppb.New(s.start.Add(-time.Hour)),
		Workload: &spoorv1.Workload{Namespace: Node, Kind: kind, Name: name},
	})
	s.instances[id] = uint32(len(s.Batch.GetInstances())) //nolint:gosec // a handful
	return id
}

// Process introduces a process of an instance.
func (s *Story) Process(instance string, p *spoorv1.Process) {
	if p.GetStartTime() == nil {
		p.StartTime = timestamppb.New(s.start)
	}
	s.Batch.Processes = append(s.Batch.Processes, p)
	s.Batch.ProcessInstances = append(s.Batch.ProcessInstances, s.instances[instance]-1)
	s.processes[p.GetExecId()] = uint32(len(s.Batch.GetProcesses())) //nolint:gosec // a handful
	s.instanceOf[p.GetExecId()] = instance
}

// Tell adds what a process did, so long after the start; no process when execID is empty.
func (s *Story) Tell(after time.Duration, execID string, record *spoorv1.Record) {
	s.sequence++
	record.Sequence = s.sequence
	record.TimeUnixNano = uint64(s.start.Add(after).UnixNano())
	record.Process = s.processes[execID]
	record.Instance = s.instances[s.instanceOf[execID]]
	s.Batch.Records = append(s.Batch.Records, record)
}

// LastEvent is the number of the latest event.
func (s *Story) LastEvent() uint64 { return s.sequence }

// LittleDay is a little day: somebody writes a file that stays, a web server is started and called, a process with a hostile
// name does the same, something is lost.
func LittleDay(start time.Time) *Story {
	s := NewStory(start, 1, 0)
	boot := s.Instance("Unit", "init.scope", "/init.scope")
	session := s.Instance("Session", "uid-1000", "/user.slice/user-1000.slice/session-3.scope")
	web := s.Instance("Unit", "web.service", "/system.slice/web.service")

	s.Process(boot, &spoorv1.Process{ExecId: Systemd, Tgid: 1, Comm: "systemd", Exe: "/usr/lib/systemd/systemd", Args: []string{"/sbin/init"}, Cwd: "/", Preexisting: true})
	s.Process(session, &spoorv1.Process{ExecId: Bash, ParentExecId: Systemd, Tgid: 900, ParentTgid: 1, Comm: "bash", Exe: "/usr/bin/bash", Args: []string{"-bash"}, Cwd: "/home/alice", Uid: 1000, Preexisting: true})
	s.Process(session, &spoorv1.Process{ExecId: Forked, ParentExecId: Bash, Tgid: 4242, ParentTgid: 900, Comm: "bash", Exe: "/usr/bin/bash", Args: []string{"-bash"}, Uid: 1000})
	s.Process(session, &spoorv1.Process{ExecId: Shell, ParentExecId: Forked, Tgid: 4242, ParentTgid: 900, Comm: "sh", Exe: "/usr/bin/dash", Args: []string{"sh", "-c", "echo hello > " + Demo}, Uid: 1000})
	s.Process(web, &spoorv1.Process{ExecId: Python, ParentExecId: Systemd, Tgid: 4300, ParentTgid: 1, Comm: "python3", Exe: "/usr/bin/python3.11", Args: []string{"python3", "-m", "http.server", "8099"}})
	s.Process(session, &spoorv1.Process{ExecId: Curl, ParentExecId: Bash, Tgid: 4301, ParentTgid: 900, Comm: "curl", Exe: "/usr/bin/curl", Args: []string{"curl", "-s", "127.0.0.1:8099"}, Uid: 1000})
	s.Process(session, &spoorv1.Process{ExecId: Evil, ParentExecId: Bash, Tgid: 666, ParentTgid: 900, Comm: Hostile[:15], Exe: "/tmp/" + Hostile, Args: []string{"innocent", Hostile}, Uid: 1000})

	for _, sensor := range []string{"process", "file", "socket"} {
		s.Tell(0, "", &spoorv1.Record{Fact: &spoorv1.Record_Coverage{Coverage: &spoorv1.Coverage{Sensor: sensor, Tier: "base", Reason: sensor + "s are seen in part"}}})
	}
	const found, fork, exec = spoorv1.ProcessStart_CAUSE_FOUND, spoorv1.ProcessStart_CAUSE_FORK, spoorv1.ProcessStart_CAUSE_EXEC
	s.Tell(0, Systemd, started(found))
	s.Tell(0, Bash, started(found))
	s.Tell(1000*time.Millisecond, Forked, started(fork))
	s.Tell(1001*time.Millisecond, Shell, started(exec))
	s.Tell(1010*time.Millisecond, Shell, s.Write(1010*time.Millisecond, Demo, 12, 6))
	s.Tell(1020*time.Millisecond, Shell, exited(&spoorv1.ProcessExit{}))
	s.Tell(2*time.Second, Python, started(exec))
	s.Tell(2100*time.Millisecond, Python, &spoorv1.Record{Fact: &spoorv1.Record_Listen{Listen: &spoorv1.Listen{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Local: &spoorv1.Endpoint{Address: "0.0.0.0", Port: 8099},
	}}})
	s.Tell(3*time.Second, Curl, started(exec))
	s.Tell(3100*time.Millisecond, Curl, s.Call(3100*time.Millisecond, &spoorv1.Endpoint{Address: "127.0.0.1", Port: 8099}, 1, 0, 40001))
	s.Tell(3100*time.Millisecond, Python, s.Called(3100*time.Millisecond, 8099, &spoorv1.Endpoint{Address: "127.0.0.1"}, 40001))
	s.Tell(3200*time.Millisecond, Curl, exited(&spoorv1.ProcessExit{}))
	s.Tell(4*time.Second, Evil, started(exec))
	s.Tell(4100*time.Millisecond, Evil, s.Write(4100*time.Millisecond, "/tmp/"+Hostile, 13, 4096))
	s.Tell(4200*time.Millisecond, Evil, s.Call(4200*time.Millisecond, &spoorv1.Endpoint{Address: "192.0.2.66", Port: 4444}, 0, 3, 40002))
	s.Tell(4300*time.Millisecond, Evil, exited(&spoorv1.ProcessExit{Signal: 9}))
	s.Tell(5*time.Second, "", &spoorv1.Record{Fact: &spoorv1.Record_Loss{Loss: &spoorv1.Loss{Source: "file", Reason: "name_unreadable", Count: 12}}})
	return s
}

// Crowd adds n events of many processes that write and call.
func (s *Story) Crowd(n int) {
	jobs := s.Instance("Unit", "jobs.service", "/system.slice/jobs.service")
	const workers = 50
	id := func(i int) string { return fmt.Sprintf("h%c%caaaaaaaaaaaaa", 'a'+i/26, 'a'+i%26) }
	for i := range workers {
		s.Process(jobs, &spoorv1.Process{
			ExecId: id(i), ParentExecId: Systemd, Tgid: uint32(5000 + i), ParentTgid: 1,
			Comm: "worker", Exe: "/usr/bin/worker", Args: []string{"worker", fmt.Sprint(i)},
		})
	}
	for i := range n {
		at := 6*time.Second + time.Duration(i)*time.Millisecond
		worker := id(i % workers)
		if i%2 == 0 {
			s.Tell(at, worker, s.Write(at, fmt.Sprintf("/srv/jobs/%d/out.log", i%200), uint64(1000+i%200), uint64(i)))
		} else {
			s.Tell(at, worker, s.Call(at, &spoorv1.Endpoint{Address: fmt.Sprintf("10.0.0.%d", i%9), Port: 5432}, 1, 0, uint32(41000+i%9)))
		}
	}
}

func started(cause spoorv1.ProcessStart_Cause) *spoorv1.Record {
	return &spoorv1.Record{Fact: &spoorv1.Record_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: cause}}}
}

func exited(x *spoorv1.ProcessExit) *spoorv1.Record {
	return &spoorv1.Record{Fact: &spoorv1.Record_ProcessExit{ProcessExit: x}}
}

// Write is a file that grew from nothing.
func (s *Story) Write(at time.Duration, path string, inode, size uint64) *spoorv1.Record {
	when := timestamppb.New(s.start.Add(at))
	return &spoorv1.Record{Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{
		File:  &spoorv1.File{Path: path, Dev: 8 << 20, Inode: inode, FsType: "ext4", StorageClass: spoorv1.StorageClass_STORAGE_CLASS_HOST},
		First: when, Last: when, Changes: 1, SizeAfter: size, Data: true,
	}}}
}

// Call is a connection to peer, or attempts that were refused.
func (s *Story) Call(at time.Duration, peer *spoorv1.Endpoint, opened, refused, clientPort uint32) *spoorv1.Record {
	when := timestamppb.New(s.start.Add(at))
	return &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND,
		Local: &spoorv1.Endpoint{Address: "127.0.0.1"}, Peer: peer, NetNs: 4026531840, First: when, Last: when,
		Opened: opened, Closed: opened, Refused: refused, BytesSent: uint64(opened) * 82, BytesReceived: uint64(opened) * 1200,
		ClientPorts: []uint32{clientPort},
	}}}
}

// Called is the other end of a Call.
func (s *Story) Called(at time.Duration, port uint32, peer *spoorv1.Endpoint, clientPort uint32) *spoorv1.Record {
	when := timestamppb.New(s.start.Add(at))
	return &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_INBOUND,
		Local: &spoorv1.Endpoint{Address: "127.0.0.1", Port: port}, Peer: peer, NetNs: 4026531840, First: when, Last: when,
		Opened: 1, Closed: 1, BytesSent: 1200, BytesReceived: 82, ClientPorts: []uint32{clientPort},
	}}}
}
