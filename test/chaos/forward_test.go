// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"net/http"
	"os"
	"path/filepath"
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
	local, central := filepath.Join(dir, "local"), filepath.Join(dir, "central")
	for _, d := range []string{local, central} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	localURL, localFront := front(t)
	centralURL, centralFront := front(t)
	w := &witness{onDisk: map[string]uint64{}, acknowledged: map[string]uint64{}}
	silent := func(string) {}
	between, err := spawn("proxy", "proxy", part{Dir: local, Calm: true}, localFront, silent)
	if err != nil {
		t.Fatal(err)
	}
	ending := false
	t.Cleanup(func() {
		if !ending {
			_ = between.kill()
		}
	})
	victims := []*victim{
		{name: "collector", least: 500 * time.Millisecond, most: 2500 * time.Millisecond, start: func(calm bool) (*process, error) {
			return spawn("collector", "collector", part{Dir: local, URL: centralURL, Calm: calm}, nil, silent)
		}},
		{name: "central collector", least: 500 * time.Millisecond, most: 2500 * time.Millisecond, start: func(calm bool) (*process, error) {
			return spawn("central collector", "collector", part{Dir: central, Calm: calm}, nil, silent)
		}},
		{name: "proxy", least: 300 * time.Millisecond, most: 2500 * time.Millisecond, start: func(calm bool) (*process, error) {
			return spawn("proxy", "proxy", part{Dir: central, Calm: calm}, centralFront, silent)
		}},
	}
	nodes := []string{"a", "b"}
	for _, node := range nodes {
		how := part{Dir: filepath.Join(dir, node), Node: node, URL: localURL}
		victims = append(victims, &victim{name: "agent " + node, least: 500 * time.Millisecond, most: 3500 * time.Millisecond, start: func(calm bool) (*process, error) {
			how := how
			how.Calm = calm
			return spawn("agent "+node, "agent", how, nil, w.hear)
		}})
	}
	tormentAll(t, kills(t), victims)
	var last []*process
	for _, v := range victims {
		p, err := v.start(true)
		if err != nil {
			t.Fatal(err)
		}
		last = append(last, p)
	}
	for _, p := range last[3:] {
		if err := p.end(true); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all events at the central collector", &scene.Transcript{}, func() bool {
		here, there := events(t, localURL), events(t, centralURL)
		return here > 0 && here == there
	})
	ending = true
	for _, p := range append(last[:3], between) {
		if err := p.end(false); err != nil {
			t.Error(err)
		}
	}
	flows := uint64(0)
	c := count(t, central, nodes, w.onDisk, func(t *testing.T, ev *spoorv1.Event) {
		t.Helper()
		demand(t, ev)
		flows += uint64(ev.GetFlow().GetOpened())
	})
	sums(t, central, flows)
	for _, v := range victims {
		t.Logf("%s: killed %d times", v.name, v.kills)
	}
	t.Logf("%d runs of agents had %d events on disk; the central collector stored %d, missing %d, doubled %d", len(w.onDisk), c.onDisk, c.stored, c.missing, c.doubled)
	if c.missing != 0 || c.doubled != 0 || c.stored < c.onDisk || c.onDisk == 0 {
		t.Error("that is not each of them once")
	}
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
