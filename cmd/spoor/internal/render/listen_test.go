// SPDX-License-Identifier: Apache-2.0

package render

import (
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func TestListenSentence(t *testing.T) {
	for want, l := range map[string]*spoorv1.Listen{
		"listens on tcp [::1]:80": {Transport: spoorv1.Transport_TRANSPORT_TCP, Local: &spoorv1.Endpoint{Address: "::1", Port: 80}},
		"stopped listening on unix /run/a.sock": {
			Transport: spoorv1.Transport_TRANSPORT_UNIX, Local: &spoorv1.Endpoint{Address: "/run/a.sock"}, Closed: true,
		},
		"has a raw socket open for IP protocol 1 at 0.0.0.0": {
			Transport: spoorv1.Transport_TRANSPORT_RAW, Local: &spoorv1.Endpoint{Address: "0.0.0.0"}, IpProtocol: 1,
		},
		"closed a packet socket": {Transport: spoorv1.Transport_TRANSPORT_PACKET, Local: &spoorv1.Endpoint{}, Closed: true},
	} {
		if got := listenSentence(l); got != want {
			t.Errorf("listenSentence(%v) = %q, want %q", l, got, want)
		}
	}
}
