// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/test/bench/traffic"
)

// inFlight is how many batches an agent sends ahead of their acknowledgement.
const inFlight = 16

// shipment is what one agent sends, encoded.
type shipment [][]byte

// load makes shipments of all nodes, of so many events together.
func load(f *traffic.Fleet, events, perBatch int) (all []shipment, made int, err error) {
	all = make([]shipment, len(f.Nodes))
	for made < events {
		for n := range f.Nodes {
			b := f.Next(n, perBatch)
			made += len(b.GetRecords())
			encoded, err := encodeBatch(b)
			if err != nil {
				return nil, 0, err
			}
			all[n] = append(all[n], encoded)
		}
	}
	return all, made, nil
}

// ship sends shipments at the same time, each as fast as it is taken, and returns when all of them are acknowledged.
func ship(agents []*agent, all []shipment, first []uint64) error {
	var group errgroup.Group
	for n, a := range agents {
		group.Go(func() error {
			room := make(chan struct{}, inFlight)
			var sending errgroup.Group
			gone := make(chan struct{})
			sending.Go(func() error {
				for _, m := range all[n] {
					select {
					case room <- struct{}{}:
					case <-gone:
						return nil
					}
					if err := a.send(m); err != nil {
						return err
					}
				}
				return nil
			})
			err := acknowledged(a, first[n], len(all[n]), room)
			if err != nil {
				close(gone)
				_ = a.close() // it may wait to send
			}
			if sent := sending.Wait(); err == nil {
				err = sent
			}
			return err
		})
	}
	return group.Wait()
}

// acknowledged hears so many acknowledgements of batches after first.
func acknowledged(a *agent, first uint64, batches int, room <-chan struct{}) error {
	for done := first; done < first+uint64(batches); { //nolint:gosec // a count
		m, err := a.receive()
		if err != nil {
			return err
		}
		for n := m.GetAcknowledge().GetSequence(); done < n; done++ {
			<-room
		}
	}
	return nil
}

func dialAll(ctx context.Context, url string, f *traffic.Fleet) ([]*agent, error) {
	agents := make([]*agent, len(f.Nodes))
	var group errgroup.Group
	group.SetLimit(64)
	for n := range f.Nodes {
		group.Go(func() (err error) {
			agents[n], err = dial(ctx, url, f.Nodes[n].Hello())
			return err
		})
	}
	return agents, group.Wait()
}

func closeAll(agents []*agent) {
	var wg sync.WaitGroup
	for _, a := range agents {
		wg.Go(func() { _ = a.close() }) // nothing is expected any more
	}
	wg.Wait()
}

// throughput measures how fast events become durable.
func throughput(ctx context.Context, program, dir string) (err error) {
	f := traffic.New(options.Nodes, traffic.Services, time.Now().Add(-10*time.Minute))
	if options.Labels >= 0 {
		f.Label(options.Labels)
	}
	all, events, err := load(f, options.Throughput, options.Batch)
	if err != nil {
		return err
	}
	p, err := start(program, dir, "--agent-rate", "1000000")
	if err != nil {
		return err
	}
	agents, err := dialAll(ctx, p.url, f)
	if err != nil {
		return err
	}
	before, err := p.Used()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := ship(agents, all, make([]uint64, len(agents))); err != nil {
		return err
	}
	took := time.Since(begun)
	after, err := p.Used()
	if err != nil {
		return err
	}
	_, most, err := p.Resident()
	if err != nil {
		return err
	}
	closeAll(agents)
	if err := p.Stop(); err != nil {
		return err
	}
	bytes, err := p.stored()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "| throughput, %d agents, batches of %d, %d labels | |\n|---|---|\n", options.Nodes, options.Batch, max(options.Labels, 0))
	fmt.Fprintf(os.Stdout, "| events | %d |\n| durable events a second | %.0f |\n| processor time of the collector for an event | %.1f µs |\n| bytes an event in the store | %.1f |\n| most resident memory of the collector | %d MiB |\n\n",
		events, float64(events)/took.Seconds(), float64((after-before).Nanoseconds())/float64(events)/1000, float64(bytes)/float64(events), most)
	return nil
}
