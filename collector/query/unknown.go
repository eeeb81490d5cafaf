// SPDX-License-Identifier: Apache-2.0

package query

import (
	"net/netip"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// joinPatience is how long the record of a flow's other end may take: the longest pause between two events of one flow.
const joinPatience = time.Minute

// sayUnknown says of flows whose other end has no name why that is so. The events are the caller's own.
func sayUnknown(evs []*spoorv1.Event, now time.Time) {
	for _, ev := range evs {
		if f := ev.GetFlow(); f.GetPeer() != nil {
			f.Peer.Unknown = whyUnknown(f, when(ev), now)
		}
	}
}

func whyUnknown(f *spoorv1.Flow, at, now time.Time) spoorv1.Endpoint_Unknown {
	if f.GetPeer().GetWorkload() != nil || f.GetPeer().GetExecId() != "" {
		return spoorv1.Endpoint_UNKNOWN_UNSPECIFIED
	}
	outbound := f.GetDirection() == spoorv1.Direction_DIRECTION_OUTBOUND
	if outbound && f.GetTransport() == spoorv1.Transport_TRANSPORT_TCP && f.GetOpened() == 0 && f.GetRefused()+f.GetTimedOut() > 0 {
		return spoorv1.Endpoint_UNKNOWN_NO_ANSWER
	}
	if now.Sub(at) < joinPatience {
		return spoorv1.Endpoint_UNKNOWN_NOT_YET
	}
	addr, err := netip.ParseAddr(f.GetPeer().GetAddress())
	if err == nil && contract.Public(addr.Unmap()) {
		return spoorv1.Endpoint_UNKNOWN_OUTSIDE
	}
	return spoorv1.Endpoint_UNKNOWN_NO_AGENT
}
