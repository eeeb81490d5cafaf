// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/ship"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// shipper is an agent without sensors: what it tells is made up, what brings it to a collector is real. Of two, one calls the other: both tell of each
// connection, as a rule to different collectors.
type shipper struct {
	number      int
	node, epoch string
	queue       *ship.Queue
	told        uint64
	group       errgroup.Group
	stop        context.CancelFunc
}

func newShipper(t *testing.T, number int, url string) *shipper {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	node := fmt.Sprint("n", number)
	s := &shipper{number: number, node: node, epoch: strings.ToLower(rand.Text())}
	s.queue = ship.NewQueue(ship.QueueOptions{Limit: 1_000_000, Logger: logger})
	client := ship.NewClient(ship.Options{URL: url, Queue: s.queue, Logger: logger, Hello: &spoorv1.Hello{
		Cluster: "c", Node: node, Epoch: s.epoch, Version: "v0", StartTime: timestamppb.Now(),
	}})
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.group.Go(func() error { return client.Run(ctx) })
	return s
}

// tell makes some more records that say which they are: writes, and each eighth a flow.
func (s *shipper) tell(t *testing.T) {
	t.Helper()
	instance := &spoorv1.Instance{Id: s.node, CgroupPath: "/" + s.node, Workload: &spoorv1.Workload{Cluster: "c", Namespace: s.node, Kind: "Unit", Name: "load"}}
	process := &spoorv1.Process{ExecId: fmt.Sprintf("%.8s%08d", s.epoch, s.told/500), Comm: "load", Exe: "/usr/bin/load", Tgid: 10}
	now := timestamppb.Now()
	for range 10 {
		s.told++
		r := &spoorv1.Record{TimeUnixNano: uint64(now.AsTime().UnixNano())}
		if s.told%8 == 0 {
			r.Fact = &spoorv1.Record_Flow{Flow: s.flow(now)}
		} else {
			r.Fact = &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{
				File: &spoorv1.File{Path: path(s.epoch, s.told), FsType: "ext4"}, First: now, Last: now, Changes: 1, Data: true,
			}}
		}
		if !s.queue.Add(r, process, instance) {
			t.Fatalf("no room for record %d: %+v", s.told, s.queue.Stats())
		}
	}
	s.queue.Flush()
}

// flow is one end of a connection from an agent with an even number to the next one.
func (s *shipper) flow(now *timestamppb.Timestamp) *spoorv1.Flow {
	client, server := fmt.Sprintf("10.0.0.%d", s.number&^1), fmt.Sprintf("10.0.1.%d", s.number|1)
	f := &spoorv1.Flow{Transport: spoorv1.Transport_TRANSPORT_TCP, Opened: 1, First: now, Last: now, ClientPorts: []uint32{port(s.told)}}
	if s.number%2 == 0 {
		f.Direction = spoorv1.Direction_DIRECTION_OUTBOUND
		f.Local, f.Peer = &spoorv1.Endpoint{Address: client}, &spoorv1.Endpoint{Address: server, Port: 443}
	} else {
		f.Direction = spoorv1.Direction_DIRECTION_INBOUND
		f.Local, f.Peer = &spoorv1.Endpoint{Address: server, Port: 443}, &spoorv1.Endpoint{Address: client}
	}
	return f
}

// path and port are what a record says that it is.
func path(epoch string, n uint64) string { return fmt.Sprint("/load/", epoch, "/", n) }
func port(n uint64) uint32               { return uint32(1 + n%50_000) }

// arrive waits until everything is acknowledged, and stops.
func (s *shipper) arrive(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); s.queue.Stats().Held > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("what node %s told never arrived: %+v", s.node, s.queue.Stats())
		}
	}
	s.stop()
	if err := s.group.Wait(); err != nil {
		t.Errorf("agent of node %s: %v", s.node, err)
	}
}
