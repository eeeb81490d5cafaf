// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/chromedp/chromedp"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

// other is an agent of another node, whose clock is ahead, that tells of one write.
func (c *centre) other(t *testing.T, cluster, node, path string, ahead time.Duration) {
	t.Helper()
	start := c.start.Add(ahead)
	s := scene.NewStory(start, 1, 0)
	s.Batch.Sent = timestamppb.New(time.Now().Add(ahead))
	unit := s.Instance("Unit", cluster+".service", "/system.slice/"+cluster+".service")
	s.Process(unit, &spoorv1.Process{ExecId: scene.Bash, Tgid: 900, Comm: "bash", Exe: "/usr/bin/bash"})
	s.Tell(time.Second, scene.Bash, s.Write(time.Second, path, 77, 1))
	hello := scene.Hello(start)
	hello.Cluster, hello.Node, hello.Epoch = cluster, node, "epoch-of-"+cluster
	if err := scene.Ship(t.Context(), c.url, hello, s.Batch); err != nil {
		t.Fatal(err)
	}
}

// TestClusters: a page is about all clusters until somebody chooses one; what happened in one of them is told by a clock that is two hours ahead.
func TestClusters(t *testing.T) {
	c := startCentre(t)
	c.other(t, "east", "node-e", "/srv/of-east", 0)
	c.other(t, "west", "node-w", "/srv/of-west", 2*time.Hour)
	p := openTabAt(t, c, "#path=/srv/", 1440, 900, "light")
	p.sees("#events-list", "/srv/of-east")
	p.sees("#events-list", "/srv/of-west")
	p.until(`!document.querySelector("#clusters").hidden && [...document.querySelector("#cluster").options].map((o) => o.text).join() === "all,east,west"`)
	p.sees("#agents", "node-a")

	p.do(chromedp.SendKeys("#cluster", "w")) // the first letter chooses, and loads the page
	p.until(`location.search === "?cluster=west" && document.querySelector("#cluster").value === "west"`)
	p.sees("#events-list", "/srv/of-west")
	p.until(`document.querySelectorAll("#events-list .row").length === 1 && document.querySelector("#path").value === "/srv/"`)
	p.until(`document.querySelectorAll("#agents > li").length === 1`)
	p.sees("#agents", "west/node-w")
	p.sees("#gaps", "its clock is 2h0m0s ahead")

	answer, err := c.query.ListEvents(t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{Filter: &spoorv1.EventFilter{
		Cluster: "west", From: timestamppb.New(c.start), To: timestamppb.New(c.start.Add(time.Minute)),
	}}))
	if err != nil || len(answer.Msg.GetEvents()) != 1 {
		t.Fatalf("the minute in which it happened has %v (%v)", answer.Msg.GetEvents(), err)
	}
	ev := answer.Msg.GetEvents()[0]
	times := p.eval(fmt.Sprintf(`import("/text.js").then(({ shortClock, clock }) => {
		const cell = document.querySelector("#events-list .row .time");
		const [right, told] = ["%s", "%s"];
		if (cell.innerText !== shortClock(right)) return "it is shown as of " + cell.innerText + ", not " + shortClock(right);
		return cell.title.startsWith(clock(right, true)) && cell.title.includes("node-w") && cell.title.endsWith(clock(told, true)) ? "" : "its title is " + cell.title;
	})`, ev.GetCorrectedTime().AsTime().Format(time.RFC3339Nano), ev.GetTime().AsTime().Format(time.RFC3339Nano)))
	if times != "" {
		t.Errorf("of an event that %s tells with the time %v: %s", ev.GetNode(), ev.GetTime().AsTime(), times)
	}

	p.do(chromedp.SendKeys("#cluster", "a"))
	p.until(`location.search === ""`)
	p.sees("#events-list", "/srv/of-east")
}
