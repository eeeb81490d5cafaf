// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Edges writes a table of who talks to whom.
func Edges(w io.Writer, s Style, edges []*spoorv1.Edge) error {
	t := table{columns: []column{
		{title: "FROM", min: 14, cut: cutMiddle},
		{title: "TO", min: 14, cut: cutMiddle},
		{title: "PORT", right: true},
		{title: "VIA", drop: 3},
		{title: "OPENED", right: true},
		{title: "FAILED", right: true, drop: 1},
		{title: "SENT", right: true, drop: 5},
		{title: "RECEIVED", right: true, drop: 5},
		{title: "FIRST SEEN", drop: 6},
		{title: "LAST SEEN", drop: 2},
		{title: "ATTESTED BY", drop: 4},
	}}
	for _, e := range edges {
		failed := e.GetRefused() + e.GetTimedOut()
		failedHue := none
		if failed > 0 {
			failedHue = warn
		}
		t.add(
			text(end(e.GetFrom())),
			text(end(e.GetTo())),
			text(fmt.Sprint(e.GetTo().GetPort())),
			text(transport(e.GetTransport())),
			text(grouped(e.GetOpened())),
			cell{grouped(failed), failedHue},
			text(size(e.GetBytesSent())),
			text(size(e.GetBytesReceived())),
			cell{s.second(e.GetFirstSeen()), faint},
			cell{s.second(e.GetLastSeen()), faint},
			text(attested(e)),
		)
	}
	return t.write(w, s)
}

// end names one end of an edge: a workload, else a DNS name, else the address.
func end(e *spoorv1.Endpoint) string {
	switch {
	case e.GetWorkload().GetName() != "":
		return WorkloadName(e.GetWorkload(), "")
	case e.GetDnsName() != "":
		return Printable(e.GetDnsName())
	case e.GetAddress() != "":
		return Printable(e.GetAddress())
	default:
		return "?"
	}
}

func attested(e *spoorv1.Edge) string {
	switch {
	case e.GetSeenByCaller() && e.GetSeenByCalled():
		return "both ends"
	case e.GetSeenByCaller():
		return "caller only"
	case e.GetSeenByCalled():
		return "called only"
	default:
		return "nobody"
	}
}
