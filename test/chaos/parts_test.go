// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/ship"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector"
)

// spoolBytes is more than a test makes: nothing is dropped for want of room.
const spoolBytes = 1 << 30

// shipper is an agent without sensors: what it tells is made up, what brings it to the collector is real. It says on its
// output, again and again, its epoch, and up to which record everything is on disk or acknowledged, and acknowledged.
func shipper(how part, ended <-chan struct{}) error {
	logger := slog.New(slog.DiscardHandler)
	hello := &spoorv1.Hello{
		Cluster: "chaos", Node: how.Node, Epoch: strings.ToLower(rand.Text()), Version: "v0", StartTime: timestamppb.Now(),
	}
	spool, err := ship.OpenSpool(how.Dir, spoolBytes, hello)
	if err != nil {
		return err
	}
	queue := ship.NewQueue(ship.QueueOptions{Limit: 200_000, Spool: spool, Logger: logger})
	client := ship.NewClient(ship.Options{URL: how.URL, Queue: queue, Hello: hello, Logger: logger})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	keeping, stopKeeping := context.WithCancel(context.Background())
	defer stopKeeping()
	var group, keeper errgroup.Group
	group.Go(func() error { return client.Run(ctx) })
	keeper.Go(func() error { return queue.Keep(keeping) })

	left := func() int {
		n := queue.Stats().Held
		for _, run := range spool.Left() {
			n += run.Records()
		}
		return n
	}
	s := &story{epoch: hello.GetEpoch(), node: how.Node, queue: queue}
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for !how.Calm || left() > 0 {
		select {
		case <-ended:
			return errors.New("the test is over")
		case <-tick.C:
		}
		if !how.Calm {
			if err := s.goOn(); err != nil {
				return err
			}
		}
	}
	cancel()
	err = group.Wait()
	stopKeeping()
	return errors.Join(err, keeper.Wait())
}

// story makes records that say which they are.
type story struct {
	epoch, node string
	queue       *ship.Queue
	sequence    uint64
	instance    *spoorv1.Instance
	process     *spoorv1.Process

	safe, acknowledged uint64 // what was said last
}

// goOn tells some more, and says what is on disk.
func (s *story) goOn() error {
	if s.sequence%500 == 0 {
		s.instance = &spoorv1.Instance{Id: s.node + "-" + s.epoch[:8], CgroupPath: "/" + s.node, Workload: &spoorv1.Workload{
			Cluster: "chaos", Namespace: s.node, Kind: "Unit", Name: "load",
		}}
		s.process = &spoorv1.Process{ExecId: fmt.Sprintf("%.8s%08d", s.epoch, s.sequence), Comm: "load", Exe: "/usr/bin/load", Tgid: 10}
	}
	for range 10 {
		r := record(s.epoch, s.sequence+1)
		r.TimeUnixNano = uint64(time.Now().UnixNano())
		if !s.queue.Add(r, s.process, s.instance) {
			return fmt.Errorf("no room for record %d: %+v", s.sequence+1, s.queue.Stats())
		}
		s.sequence++
	}
	s.queue.Flush()
	// Both what is acknowledged and what is on disk is so from the beginning on.
	stats := s.queue.Stats()
	safe, acknowledged := stats.Sequence-uint64(stats.Volatile), stats.Sequence-uint64(stats.Held)
	if safe == s.safe && acknowledged == s.acknowledged {
		return nil
	}
	s.safe, s.acknowledged = safe, acknowledged
	_, err := fmt.Fprintln(os.Stdout, s.epoch, safe, acknowledged)
	return err
}

// path is what a record of a write says that it is.
func path(epoch string, sequence uint64) string { return fmt.Sprint("/chaos/", epoch, "/", sequence) }

// port is what a record of a flow says that it is.
func port(sequence uint64) uint32 { return uint32(1 + sequence%50_000) }

// record is a write, or each eighth time a flow.
func record(epoch string, sequence uint64) *spoorv1.Record {
	now := timestamppb.Now()
	if sequence%8 == 0 {
		return &spoorv1.Record{Fact: &spoorv1.Record_Flow{Flow: &spoorv1.Flow{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, Opened: 1,
			Local: &spoorv1.Endpoint{Address: "10.0.0.1"}, Peer: &spoorv1.Endpoint{Address: "192.0.2.1", Port: 443},
			ClientPorts: []uint32{port(sequence)}, First: now, Last: now,
		}}}
	}
	return &spoorv1.Record{Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{
		File: &spoorv1.File{Path: path(epoch, sequence), FsType: "ext4"}, First: now, Last: now, Changes: 1, Data: true,
	}}}
}

// centre is a collector, which forwards where it is told to. It writes down where it listens.
func centre(how part, ended <-chan struct{}) error {
	registry := prometheus.NewRegistry()
	c, err := collector.New(collector.Options{
		Listen: "127.0.0.1:0", DataDir: how.Dir, ForwardURL: how.URL, Registerer: registry, Gatherer: registry,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	name := filepath.Join(how.Dir, addressFile)
	if err := os.WriteFile(name+".new", []byte(c.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	go func() {
		<-ended
		cancel()
	}()
	return c.Run(ctx)
}
