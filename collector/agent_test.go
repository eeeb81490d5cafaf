// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// agent keeps batches until they are acknowledged, and sends them again over a new stream when one breaks: as little
// of an agent as there can be.
type agent struct {
	hello     *spoorv1.Hello
	transport *http.Transport
	// unacknowledged batches, oldest first.
	waiting      []*spoorv1.Batch
	acknowledged uint64 // highest batch
}

func newAgent(node string) *agent {
	only2 := new(http.Protocols)
	only2.SetUnencryptedHTTP2(true)
	return &agent{
		hello:     &spoorv1.Hello{Cluster: "test", Node: node, Epoch: "epoch-of-" + node, Version: "v0", StartTime: timestamppb.Now()},
		transport: &http.Transport{Protocols: only2},
	}
}

var errWelcome = errors.New("no welcome")

// ship sends what waits, and whatever more gives for as long as it does, until everything is acknowledged.
func (a *agent) ship(ctx context.Context, url string, more func() *spoorv1.Batch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := spoorv1connect.NewAgentServiceClient(&http.Client{Transport: a.transport}, url, connect.WithGRPC()).Ship(ctx)
	defer func() {
		cancel()
		_ = stream.CloseRequest() // the stream is done with, or broken
		_ = stream.CloseResponse()
	}()
	if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: a.hello}}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	m, err := stream.Receive()
	if err != nil {
		return fmt.Errorf("welcome: %w", err)
	}
	if m.GetWelcome() == nil {
		return errWelcome
	}
	if err := a.acknowledge(m.GetWelcome().GetAcknowledged()); err != nil {
		return err
	}
	sent := a.acknowledged
	for {
		if more != nil && len(a.waiting) < 8 {
			if b := more(); b != nil {
				a.waiting = append(a.waiting, b)
			} else {
				more = nil
			}
		}
		for _, b := range a.waiting {
			if b.GetSequence() <= sent {
				continue
			}
			b.Sent = timestamppb.Now()
			err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: proto.CloneOf(b)}})
			for errors.Is(err, io.EOF) {
				// The other side ended the stream; why is behind what it still had to say.
				if _, failed := stream.Receive(); failed != nil {
					err = failed
				}
			}
			if err != nil {
				return fmt.Errorf("batch %d: %w", b.GetSequence(), err)
			}
			sent = b.GetSequence()
		}
		if len(a.waiting) == 0 {
			return nil
		}
		if more != nil && len(a.waiting) < 8 {
			continue
		}
		m, err := stream.Receive()
		if err != nil {
			return fmt.Errorf("acknowledgement: %w", err)
		}
		if err := a.acknowledge(m.GetAcknowledge().GetSequence()); err != nil {
			return err
		}
	}
}

// acknowledge drops what the collector has. It must have all that it acknowledged before.
func (a *agent) acknowledge(sequence uint64) error {
	if sequence < a.acknowledged {
		return fmt.Errorf("the collector has %d of %s, and acknowledged %d before", sequence, a.hello.GetNode(), a.acknowledged)
	}
	a.acknowledged = sequence
	for len(a.waiting) > 0 && a.waiting[0].GetSequence() <= sequence {
		a.waiting = a.waiting[1:]
	}
	return nil
}

// story makes batches of one node.
type story struct {
	node      string
	instance  *spoorv1.Instance
	sequence  uint64 // of events
	batches   uint64
	batch     *spoorv1.Batch
	processes map[*spoorv1.Process]uint32
}

func newStory(node, workload string) *story {
	return &story{node: node, instance: &spoorv1.Instance{
		Id: node + "-" + workload, CgroupPath: "/" + workload,
		Workload: &spoorv1.Workload{Cluster: "test", Namespace: "shop", Kind: "Deployment", Name: workload},
	}}
}

func (s *story) process(name string) *spoorv1.Process {
	return &spoorv1.Process{ExecId: fmt.Sprintf("%-16.16s", s.node+name+"aaaaaaaaaaaaaaaa"), Comm: name, Exe: "/usr/bin/" + name, Args: []string{name}, Tgid: 10}
}

func (s *story) tell(p *spoorv1.Process, r *spoorv1.Record) {
	if s.batch == nil {
		s.batches++
		s.batch = &spoorv1.Batch{Sequence: s.batches, Instances: []*spoorv1.Instance{s.instance}}
		s.processes = map[*spoorv1.Process]uint32{}
	}
	if s.processes[p] == 0 {
		s.batch.Processes = append(s.batch.Processes, p)
		s.batch.ProcessInstances = append(s.batch.ProcessInstances, 0)
		s.processes[p] = uint32(len(s.batch.GetProcesses()))
	}
	s.sequence++
	r.Sequence, r.TimeUnixNano, r.Process, r.Instance = s.sequence, uint64(time.Now().UnixNano()), s.processes[p], 1
	s.batch.Records = append(s.batch.Records, r)
}

// next ends the batch.
func (s *story) next() *spoorv1.Batch {
	b := s.batch
	s.batch = nil
	return b
}

func calls(client, server string, port uint32, clientPorts ...uint32) *spoorv1.Record {
	now := timestamppb.Now()
	return &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, Opened: 1, BytesSent: 10, BytesReceived: 100,
		Local: &spoorv1.Endpoint{Address: client}, Peer: &spoorv1.Endpoint{Address: server, Port: port}, First: now, Last: now, ClientPorts: clientPorts,
	}}}
}

func called(server string, port uint32, client string, clientPorts ...uint32) *spoorv1.Record {
	now := timestamppb.Now()
	return &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_INBOUND, Opened: 1, BytesSent: 100, BytesReceived: 10,
		Local: &spoorv1.Endpoint{Address: server, Port: port}, Peer: &spoorv1.Endpoint{Address: client}, First: now, Last: now, ClientPorts: clientPorts,
	}}}
}

func started() *spoorv1.Record {
	return &spoorv1.Record{Fact: &spoorv1.Record_ProcessStart{ProcessStart: &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}}}
}
