// SPDX-License-Identifier: Apache-2.0

package query

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// correct says of events of nodes whose clock is off when they happened by the collector's, as far as its measurement at the end of the run
// tells. The events are the caller's own.
func correct(evs []*spoorv1.Event, nodes []node) {
	type run struct{ node, epoch string } // the agent chooses the epoch at random
	ahead := map[run]time.Duration{}
	for i := range nodes {
		for _, r := range nodes[i].runs {
			if off(r.Skew) {
				ahead[run{r.Node, r.Epoch}] = r.Skew
			}
		}
	}
	if len(ahead) == 0 {
		return
	}
	for _, ev := range evs {
		if by := ahead[run{ev.GetNode(), ev.GetEpoch()}]; by != 0 {
			ev.CorrectedTime = timestamppb.New(ev.GetTime().AsTime().Add(-by))
		}
	}
}
