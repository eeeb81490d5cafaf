// SPDX-License-Identifier: Apache-2.0

package query

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func TestWhyTheOtherEndIsUnknown(t *testing.T) {
	now := time.Unix(10_000, 0)
	const tcp, udp = spoorv1.Transport_TRANSPORT_TCP, spoorv1.Transport_TRANSPORT_UDP
	flow := func(transport spoorv1.Transport, address string, opened, refused uint32) *spoorv1.Flow {
		return &spoorv1.Flow{
			Transport: transport, Direction: spoorv1.Direction_DIRECTION_OUTBOUND, Opened: opened, Refused: refused,
			Peer: &spoorv1.Endpoint{Address: address},
		}
	}
	named := flow(tcp, "10.0.0.1", 1, 0)
	named.Peer.Workload = &spoorv1.Workload{Name: "checkout"}
	for name, tc := range map[string]struct {
		flow *spoorv1.Flow
		ago  time.Duration
		want spoorv1.Endpoint_Unknown
	}{
		"named":                {named, 0, spoorv1.Endpoint_UNKNOWN_UNSPECIFIED},
		"just now":             {flow(tcp, "10.0.0.1", 1, 0), time.Second, spoorv1.Endpoint_UNKNOWN_NOT_YET},
		"private":              {flow(tcp, "10.0.0.1", 1, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_NO_AGENT},
		"private, IPv6":        {flow(tcp, "fd00::1", 1, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_NO_AGENT},
		"of a carrier":         {flow(tcp, "100.64.0.1", 1, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_NO_AGENT},
		"loopback":             {flow(tcp, "127.0.0.1", 1, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_NO_AGENT},
		"public":               {flow(tcp, "8.8.8.8", 1, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_OUTSIDE},
		"refused":              {flow(tcp, "10.0.0.1", 0, 3), time.Second, spoorv1.Endpoint_UNKNOWN_NO_ANSWER},
		"refused now and then": {flow(tcp, "10.0.0.1", 1, 3), time.Hour, spoorv1.Endpoint_UNKNOWN_NO_AGENT},
		"datagrams":            {flow(udp, "8.8.8.8", 0, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_OUTSIDE},
		"no address":           {flow(udp, "", 0, 0), time.Hour, spoorv1.Endpoint_UNKNOWN_NO_AGENT},
	} {
		t.Run(name, func(t *testing.T) {
			ev := &spoorv1.Event{Time: timestamppb.New(now.Add(-tc.ago)), Fact: &spoorv1.Event_Flow{Flow: tc.flow}}
			sayUnknown([]*spoorv1.Event{ev, {}}, now)
			if got := tc.flow.GetPeer().GetUnknown(); got != tc.want {
				t.Errorf("it is %v, want %v", got, tc.want)
			}
		})
	}
}
