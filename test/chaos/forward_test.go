// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/test/scene"
)

// TestChaosForward kills two agents, the collector that they tell, the collector that this one forwards to, and the proxy between the
// two, which cuts, delays and reorders. In the end the last one has everything that an agent had on disk, once, and the sums fit.
func TestChaosForward(t *testing.T) {
	dir := t.TempDir()
	local, central := folder(t, dir, "local"), folder(t, dir, "central")
	localURL, localFront := front(t)
	centralURL, centralFront := front(t)
	w := newWitness()
	nodes := []string{"a", "b"}
	between := startAll(t, []*victim{proxyTo(local, localFront)}) // it stays
	ending := false
	t.Cleanup(func() {
		if !ending {
			_ = between[0].kill()
		}
	})
	victims := append([]*victim{
		collectorOf("collector", part{Dir: local, URL: centralURL}), collectorOf("central collector", part{Dir: central}), proxyTo(central, centralFront),
	}, agentsOf(dir, localURL, nodes, 500*time.Millisecond, w)...)
	begun := time.Now()
	tormentAll(t, kills(t), victims)
	tormented := time.Since(begun)

	last := startAll(t, victims)
	endAll(t, last[3:], true)
	eventually(t, "all events at the central collector", &scene.Transcript{}, func() bool {
		here, there := events(t, localURL), events(t, centralURL)
		return here > 0 && here == there
	})
	ending = true
	endAll(t, append(last[:3], between...), false)
	c := judge(t, central, nodes, w, victims)
	t.Logf("in %s: %d runs of agents had %d events on disk; the central collector stored %d, missing %d, doubled %d",
		tormented.Round(time.Second), len(w.onDisk), c.onDisk, c.stored, c.missing, c.doubled)
}

// events returns how many events a collector has; 0 when it does not answer.
func events(t *testing.T, url string) uint64 {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	status, err := spoorv1connect.NewQueryServiceClient(client, url).GetStatus(t.Context(), connect.NewRequest(&spoorv1.GetStatusRequest{}))
	if err != nil {
		return 0
	}
	return status.Msg.GetEvents()
}
