// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// clocks are those that were off. By them events are found and shown.
func (s *Service) clocks(ctx context.Context) ([]store.Clock, error) {
	nodes, err := s.nodes(ctx)
	return clocks(nodes), err
}

// clocks are those that were off, as far as their measurement at the end of each run tells.
func clocks(nodes []node) (all []store.Clock) {
	for i := range nodes {
		for _, r := range nodes[i].runs {
			if off(r.Skew) {
				all = append(all, store.Clock{Run: r.Run, Ahead: r.Skew})
			}
		}
	}
	return all
}

// correct says of events of nodes whose clock was off when they happened by the collector's. The events are the caller's own.
func correct(evs []*spoorv1.Event, clocks []store.Clock) {
	if len(clocks) == 0 {
		return
	}
	type run struct{ node, epoch string } // events do not say the cluster; the agent chooses the epoch at random
	ahead := make(map[run]time.Duration, len(clocks))
	for _, c := range clocks {
		ahead[run{c.Node, c.Epoch}] = c.Ahead
	}
	for _, ev := range evs {
		if by := ahead[run{ev.GetNode(), ev.GetEpoch()}]; by != 0 {
			ev.CorrectedTime = timestamppb.New(ev.GetTime().AsTime().Add(-by))
		}
	}
}

// when an event happened, as far as is known.
func when(ev *spoorv1.Event) time.Time {
	if at := ev.GetCorrectedTime(); at != nil {
		return at.AsTime()
	}
	return ev.GetTime().AsTime()
}

// aheadNow is how far the clock of a node is ahead, where it is off.
func aheadNow(nodes []node, name string) time.Duration {
	for i := range nodes {
		if last := nodes[i].last(); last.Node == name && off(last.Skew) {
			return last.Skew
		}
	}
	return 0
}
