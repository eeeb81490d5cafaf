// SPDX-License-Identifier: Apache-2.0

package portrait

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

var (
	dawn = time.Date(2026, 5, 1, 6, 0, 0, 0, time.UTC)
	shop = &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: "checkout"}
	tidy = &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: "tidy"}
)

func event(w *spoorv1.Workload, instance string, after time.Duration, fill func(*spoorv1.Event)) *spoorv1.Event {
	ev := &spoorv1.Event{
		Node: "n1", Time: timestamppb.New(dawn.Add(after)), Instance: &spoorv1.Instance{Id: instance, Workload: w},
		Process: &spoorv1.Process{Tgid: 7, Comm: "app"},
	}
	fill(ev)
	return ev
}

func gallery(t *testing.T, events ...*spoorv1.Event) *Gallery {
	t.Helper()
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		g.Observe(ev)
	}
	return g
}

func listens(port uint32, address string) func(*spoorv1.Event) {
	return func(ev *spoorv1.Event) {
		ev.Fact = &spoorv1.Event_Listen{Listen: &spoorv1.Listen{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Local: &spoorv1.Endpoint{Address: address, Port: port},
		}}
	}
}

func calls(port, opened uint32) func(*spoorv1.Event) {
	return func(ev *spoorv1.Event) {
		ev.Fact = &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
			Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND,
			Local: &spoorv1.Endpoint{Address: "10.1.0.7"}, Peer: &spoorv1.Endpoint{Address: "10.1.0.8", Port: port, Workload: tidy}, Opened: opened, Refused: 1 - min(opened, 1),
		}}
	}
}

func exits(signal uint32) func(*spoorv1.Event) {
	return func(ev *spoorv1.Event) {
		ev.Fact = &spoorv1.Event_ProcessExit{ProcessExit: &spoorv1.ProcessExit{Signal: signal}}
	}
}

func file(path string) *spoorv1.File {
	return &spoorv1.File{Path: path, Dev: 1, Inode: uint64(len(path)), FsType: "ext4", StorageClass: spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER}
}

func writes(path string) func(*spoorv1.Event) {
	return func(ev *spoorv1.Event) {
		ev.Fact = &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{File: file(path), Data: true, SizeAfter: 10}}
	}
}

func reads(path, instance string) func(*spoorv1.Event) {
	return func(ev *spoorv1.Event) {
		ev.Fact = &spoorv1.Event_Share{Share: &spoorv1.Share{
			Kind: spoorv1.Share_KIND_FILE, Access: spoorv1.Share_ACCESS_READ, File: file(path), Other: ev.GetInstance().GetWorkload(), OtherInstance: instance,
		}}
	}
}

func TestPortraits(t *testing.T) {
	g := gallery(
		t,
		event(tidy, "t1", 0, listens(8080, "127.0.0.1")),
		event(shop, "i1", 0, listens(8443, "0.0.0.0")),
		event(shop, "i1", time.Second, calls(8080, 1)),
		event(shop, "i1", time.Minute, writes("/app/cart.db")),
		event(shop, "i1", 2*time.Minute, exits(9)),
		event(shop, "i2", 8*24*time.Hour, reads("/app/cart.db", "i1")),
		event(shop, "i2", 8*24*time.Hour, listens(9000, "0.0.0.0")),
		event(shop, "i2", 8*24*time.Hour, calls(22, 0)),
		event(tidy, "t2", 8*24*time.Hour, exits(15)),
		event(tidy, "t2", 8*24*time.Hour, func(ev *spoorv1.Event) { // no port
			ev.Fact = &spoorv1.Event_Listen{Listen: &spoorv1.Listen{
				Transport: spoorv1.Transport_TRANSPORT_RAW, Local: &spoorv1.Endpoint{Address: "0.0.0.0"}, IpProtocol: 1,
			}}
		}),
		event(&spoorv1.Workload{Kind: "Session", Name: "anna"}, "s", 8*24*time.Hour, listens(1, "0.0.0.0")),
	)
	all := g.Portraits(nil)
	if len(all) != 2 {
		t.Fatalf("%d portraits", len(all))
	}
	p := all[0]
	if p.Workload != "shop/Deployment/checkout" || p.Verdict != KeepsState || p.Instances != 2 || p.Nodes != 1 || p.Weight < 100 {
		t.Errorf("%+v", p)
	}
	if len(p.Because) == 0 || !strings.Contains(p.Because[0], "an instance read what an earlier one wrote") {
		t.Errorf("because %q", p.Because)
	}
	if len(p.Change) == 0 || strings.Contains(strings.Join(p.Change, " "), "spec.") {
		t.Errorf("change %q", p.Change)
	}
	if len(p.Listeners) != 2 || p.Listeners[0].New || !p.Listeners[1].New || p.Listeners[1].Port != 9000 {
		t.Errorf("listeners %+v", p.Listeners)
	}
	if len(p.Calls) != 2 || !p.Calls[0].Failed || p.Calls[1].Failed || p.Calls[1].Who != "shop/Deployment/tidy" {
		t.Errorf("calls %+v", p.Calls)
	}
	holds := func(p *Portrait, number string) string {
		i := slices.IndexFunc(p.Factors, func(f Factor) bool { return f.Number == number })
		return p.Factors[i].Holds
	}
	if holds(&p, "VI") != "no" || holds(&p, "IX") != "no" || holds(&p, "VII") != "yes" || holds(&p, "XI") != "yes" {
		t.Errorf("factors %+v", p.Factors)
	}
	q := all[1]
	if q.Verdict != Stateless || q.Weight != 0 || holds(&q, "IX") != "yes" || len(q.Listeners) != 1 || q.Listeners[0].Who != "its own host or pod" {
		t.Errorf("%+v", q)
	}
	if one := g.Portraits(func(w *spoorv1.Workload) bool { return w.GetName() == "tidy" }); len(one) != 1 {
		t.Errorf("%d", len(one))
	}
}

func TestOneLifeProvesNothing(t *testing.T) {
	all := gallery(t, event(tidy, "t1", 0, listens(8080, "0.0.0.0"))).Portraits(nil)
	if len(all) != 1 || all[0].Verdict != Unclear {
		t.Errorf("%+v", all)
	}
}

// What is remembered is bounded, and what is not is counted.
func TestBounds(t *testing.T) {
	g := gallery(t)
	for port := range uint32(maxFacts + 10) {
		g.Observe(event(tidy, "t1", 0, listens(port+1, "0.0.0.0")))
	}
	if p := g.Portraits(nil); len(p[0].Listeners) != maxFacts || g.Dropped() != 10 {
		t.Errorf("%d listeners, %d dropped", len(p[0].Listeners), g.Dropped())
	}
}
