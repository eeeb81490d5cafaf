// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/identity"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// lab is a Resolver with the ids and times of its events.
type lab struct {
	t  *testing.T
	r  *identity.Resolver
	id uint64
	at time.Duration
}

func newLab(t *testing.T, o identity.Options) *lab {
	o.Registerer = prometheus.NewRegistry()
	r, err := identity.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, r: r}
}

// who is a process: cluster, node, name of its workload. The exec id is made of them.
type who struct{ cluster, node, name string }

func (w who) String() string { return w.cluster + "/" + w.node + "/" + w.name }

func (l *lab) event(w who) *spoorv1.Event {
	l.id++
	return &spoorv1.Event{
		Id: l.id, Node: w.node, Time: timestamppb.New(start.Add(l.at)),
		Instance: &spoorv1.Instance{Workload: &spoorv1.Workload{Cluster: w.cluster, Kind: "Unit", Name: w.name}},
		Process:  &spoorv1.Process{ExecId: w.String()},
	}
}

// outbound is a client's record, inbound a server's.
func (l *lab) outbound(w who, client, server string, port uint32, ports ...uint32) *spoorv1.Event {
	ev := l.event(w)
	ev.Fact = &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_OUTBOUND,
		Local: &spoorv1.Endpoint{Address: client}, Peer: &spoorv1.Endpoint{Address: server, Port: port},
		First: ev.GetTime(), Last: ev.GetTime(), ClientPorts: ports, Opened: 1,
	}}
	return ev
}

func (l *lab) inbound(w who, server string, port uint32, client string, ports ...uint32) *spoorv1.Event {
	ev := l.event(w)
	ev.Fact = &spoorv1.Event_Flow{Flow: &spoorv1.Flow{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Direction: spoorv1.Direction_DIRECTION_INBOUND,
		Local: &spoorv1.Endpoint{Address: server, Port: port}, Peer: &spoorv1.Endpoint{Address: client},
		First: ev.GetTime(), Last: ev.GetTime(), ClientPorts: ports, Opened: 1,
	}}
	return ev
}

func (l *lab) listen(w who, addr string, port uint32) *spoorv1.Event {
	ev := l.event(w)
	ev.Fact = &spoorv1.Event_Listen{Listen: &spoorv1.Listen{
		Transport: spoorv1.Transport_TRANSPORT_TCP, Local: &spoorv1.Endpoint{Address: addr, Port: port},
	}}
	return ev
}

func (l *lab) resolve(cluster string, evs ...*spoorv1.Event) []*spoorv1.Event {
	return l.r.Resolve([]identity.Batch{{Cluster: cluster, Events: evs}})
}

func (l *lab) peer(ev *spoorv1.Event, want string) {
	l.t.Helper()
	p := ev.GetFlow().GetPeer()
	if p.GetExecId() != want {
		l.t.Errorf("the peer of %s is %q, want %q", ev.GetProcess().GetExecId(), p.GetExecId(), want)
	}
	if (p.GetWorkload() != nil) != (want != "") {
		l.t.Errorf("the peer of %s has workload %v", ev.GetProcess().GetExecId(), p.GetWorkload())
	}
}

var (
	client = who{"c", "n1", "client"}
	server = who{"c", "n2", "server"}
)

func TestBothHalvesInOneGroup(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		l := newLab(t, identity.Options{})
		c := l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000, 40001)
		s := l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40001, 40007)
		evs := []*spoorv1.Event{c, s}
		if !clientFirst {
			evs = []*spoorv1.Event{s, c}
			s.Id, c.Id = 1, 2
		}
		if late := l.resolve("c", evs...); len(late) != 0 {
			t.Errorf("%d late flows among events of one group", len(late))
		}
		l.peer(c, server.String())
		l.peer(s, client.String())
	}
}

func TestSecondHalfComesLater(t *testing.T) {
	l := newLab(t, identity.Options{})
	c := l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000)
	l.resolve("c", c)
	l.peer(c, "")
	stored := proto.CloneOf(c)
	l.at = 20 * time.Second
	s := l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)
	late := l.resolve("c", s)
	l.peer(s, client.String())
	if len(late) != 1 || late[0].GetId() != stored.GetId() {
		t.Fatalf("late flows: %v", late)
	}
	l.peer(late[0], server.String())
	if !proto.Equal(c, stored) {
		t.Error("a stored event was changed")
	}
	// Once named, it stays as it is.
	if late := l.resolve("c", l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)); len(late) != 0 {
		t.Errorf("named again: %v", late)
	}
}

func TestThroughServiceAddress(t *testing.T) {
	for name, port := range map[string]uint32{"same port": 80, "other port": 8080} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, identity.Options{})
			c := l.outbound(client, "10.0.0.1", "10.96.0.10", 80, 40000)
			s := l.inbound(server, "10.0.0.2", port, "10.0.0.1", 40000)
			l.resolve("c", c, s)
			l.peer(c, server.String())
			l.peer(s, client.String())
		})
	}
}

// TestOneClientPortTwoServers: a port can be used towards several servers at a time.
func TestOneClientPortTwoServers(t *testing.T) {
	other := who{"c", "n3", "other"}
	l := newLab(t, identity.Options{})
	s1 := l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)
	s2 := l.inbound(other, "10.0.0.3", 80, "10.0.0.1", 40000)
	c2 := l.outbound(client, "10.0.0.1", "10.0.0.3", 80, 40000)
	c1 := l.outbound(who{"c", "n1", "client1"}, "10.0.0.1", "10.0.0.2", 80, 40000)
	l.resolve("c", s1, s2, c2, c1)
	l.peer(c2, other.String())
	l.peer(s2, client.String())
	l.peer(c1, server.String())
	l.peer(s1, "c/n1/client1")
}

func TestWhatIsNotOneConnection(t *testing.T) {
	for name, make := range map[string]func(l *lab) (c, s *spoorv1.Event){
		"other client port": func(l *lab) (c, s *spoorv1.Event) {
			return l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000), l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40001)
		},
		"other client": func(l *lab) (c, s *spoorv1.Event) {
			return l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000), l.inbound(server, "10.0.0.2", 80, "10.0.0.9", 40000)
		},
		"other port of the same server": func(l *lab) (c, s *spoorv1.Event) {
			return l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000), l.inbound(server, "10.0.0.2", 81, "10.0.0.1", 40000)
		},
		"other transport": func(l *lab) (c, s *spoorv1.Event) {
			c, s = l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000), l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)
			s.GetFlow().Transport = spoorv1.Transport_TRANSPORT_UDP
			return c, s
		},
		"much later": func(l *lab) (c, s *spoorv1.Event) {
			c = l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000)
			l.at += 2 * time.Minute
			return c, l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)
		},
		"loopback of another node": func(l *lab) (c, s *spoorv1.Event) {
			return l.outbound(client, "127.0.0.1", "127.0.0.1", 80, 40000), l.inbound(server, "127.0.0.1", 80, "127.0.0.1", 40000)
		},
		"loopback of another namespace": func(l *lab) (c, s *spoorv1.Event) {
			c = l.outbound(client, "127.0.0.1", "127.0.0.1", 80, 40000)
			s = l.inbound(who{"c", "n1", "server"}, "127.0.0.1", 80, "127.0.0.1", 40000)
			s.GetFlow().NetNs = 7
			return c, s
		},
		"no client ports": func(l *lab) (c, s *spoorv1.Event) {
			return l.outbound(client, "10.0.0.1", "10.0.0.2", 80), l.inbound(server, "10.0.0.2", 80, "10.0.0.1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, identity.Options{})
			c, s := make(l)
			l.resolve("c", c, s)
			l.peer(c, "")
			l.peer(s, "")
		})
	}
}

func TestLoopback(t *testing.T) {
	l := newLab(t, identity.Options{})
	local := who{"c", "n1", "server"}
	c := l.outbound(client, "::1", "::1", 80, 40000)
	s := l.inbound(local, "::1", 80, "::1", 40000)
	l.resolve("c", c, s)
	l.peer(c, local.String())
	l.peer(s, client.String())
}

// TestMappedAddresses: a listener on :: sees IPv4 clients as ::ffff:a.b.c.d.
func TestMappedAddresses(t *testing.T) {
	l := newLab(t, identity.Options{})
	c := l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000)
	s := l.inbound(server, "::ffff:10.0.0.2", 80, "::ffff:10.0.0.1", 40000)
	l.resolve("c", c, s)
	l.peer(c, server.String())
	l.peer(s, client.String())
}

// TestClusters: the same private addresses in two clusters are joined within each; across clusters only when nobody
// nearer fits.
func TestClusters(t *testing.T) {
	l := newLab(t, identity.Options{})
	c1, s1 := who{"one", "n1", "client"}, who{"one", "n2", "server"}
	c2, s2 := who{"two", "n1", "client"}, who{"two", "n2", "server"}
	a := l.outbound(c1, "10.0.0.1", "10.0.0.2", 80, 40000)
	b := l.outbound(c2, "10.0.0.1", "10.0.0.2", 80, 40000)
	x := l.inbound(s2, "10.0.0.2", 80, "10.0.0.1", 40000)
	y := l.inbound(s1, "10.0.0.2", 80, "10.0.0.1", 40000)
	l.r.Resolve([]identity.Batch{
		{Cluster: "one", Events: []*spoorv1.Event{a}}, {Cluster: "two", Events: []*spoorv1.Event{b, x}}, {Cluster: "one", Events: []*spoorv1.Event{y}},
	})
	l.peer(a, s1.String())
	l.peer(b, s2.String())
	l.peer(x, c2.String())
	l.peer(y, c1.String())
	across := l.outbound(c1, "10.0.0.1", "203.0.113.7", 443, 50000)
	far := l.inbound(s2, "10.2.0.2", 8443, "10.0.0.1", 50000)
	l.r.Resolve([]identity.Batch{{Cluster: "one", Events: []*spoorv1.Event{across}}, {Cluster: "two", Events: []*spoorv1.Event{far}}})
	l.peer(across, s2.String())
	l.peer(far, c1.String())
}

func TestListenersStandIn(t *testing.T) {
	master, exact := who{"c", "n1", "master"}, who{"c", "n1", "exact"}
	for _, c := range []struct {
		name    string
		listens func(l *lab) []*spoorv1.Event
		called  string
		want    string
	}{
		{"wildcard and loopback", func(l *lab) []*spoorv1.Event { return []*spoorv1.Event{l.listen(master, "0.0.0.0", 80)} }, "127.0.0.1", master.String()},
		{"IPv6 wildcard and IPv4", func(l *lab) []*spoorv1.Event { return []*spoorv1.Event{l.listen(master, "::", 80)} }, "127.0.0.1", master.String()},
		{"IPv4 wildcard and IPv6", func(l *lab) []*spoorv1.Event { return []*spoorv1.Event{l.listen(master, "0.0.0.0", 80)} }, "::1", ""},
		{"exact before wildcard", func(l *lab) []*spoorv1.Event {
			return []*spoorv1.Event{l.listen(exact, "127.0.0.1", 80), l.listen(master, "0.0.0.0", 80)}
		}, "127.0.0.1", exact.String()},
		{"other exact address", func(l *lab) []*spoorv1.Event { return []*spoorv1.Event{l.listen(exact, "127.0.0.2", 80)} }, "127.0.0.1", ""},
		{"address of the node", func(l *lab) []*spoorv1.Event {
			return []*spoorv1.Event{l.listen(master, "0.0.0.0", 80), l.outbound(exact, "192.168.1.5", "9.9.9.9", 53)}
		}, "192.168.1.5", master.String()},
		{"address of nobody", func(l *lab) []*spoorv1.Event { return []*spoorv1.Event{l.listen(master, "0.0.0.0", 80)} }, "192.168.1.6", ""},
		{"address of another node", func(l *lab) []*spoorv1.Event {
			far := who{"c", "n2", "far"}
			return []*spoorv1.Event{l.listen(far, "0.0.0.0", 80), l.listen(far, "192.168.1.7", 81)}
		}, "192.168.1.7", ""},
		{"the latest", func(l *lab) []*spoorv1.Event {
			return []*spoorv1.Event{l.listen(exact, "0.0.0.0", 80), l.listen(master, "0.0.0.0", 80)}
		}, "127.0.0.1", master.String()},
		{"no longer", func(l *lab) []*spoorv1.Event {
			closed := l.listen(master, "0.0.0.0", 80)
			closed.GetListen().Closed = true
			return []*spoorv1.Event{l.listen(master, "0.0.0.0", 80), closed}
		}, "127.0.0.1", ""},
		{"unspecified", func(l *lab) []*spoorv1.Event { return []*spoorv1.Event{l.listen(master, "127.0.0.1", 80)} }, "0.0.0.0", master.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, identity.Options{})
			l.resolve("c", c.listens(l)...)
			ev := l.outbound(client, "127.0.0.1", c.called, 80, 40000)
			l.resolve("c", ev)
			l.peer(ev, c.want)
			if c.want == "" {
				return
			}
			// The record of the worker that took the connection knows better than the listener.
			worker := who{"c", "n1", "worker"}
			in := l.inbound(worker, c.called, 80, "127.0.0.1", 40000)
			late := l.resolve("c", in)
			l.peer(in, client.String())
			if len(late) != 1 {
				t.Fatalf("%d late flows", len(late))
			}
			l.peer(late[0], worker.String())
		})
	}
}

func TestWhatTheAgentKnewStays(t *testing.T) {
	l := newLab(t, identity.Options{})
	c := l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000)
	c.GetFlow().GetPeer().ExecId, c.GetFlow().GetPeer().Workload = "told", &spoorv1.Workload{Name: "told"}
	s := l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)
	l.resolve("c", c, s)
	l.peer(c, "told")
	l.peer(s, client.String())
}

func TestLearn(t *testing.T) {
	l := newLab(t, identity.Options{})
	c := l.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000)
	master := who{"c", "n2", "master"}
	l.r.Learn([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{c, l.listen(master, "0.0.0.0", 90)}}})
	l.peer(c, "")
	late := l.resolve("c", l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000))
	if len(late) != 1 {
		t.Fatalf("%d late flows", len(late))
	}
	l.peer(late[0], server.String())
	onNode := l.outbound(who{"c", "n2", "x"}, "127.0.0.1", "127.0.0.1", 90, 1)
	l.resolve("c", onNode)
	l.peer(onNode, master.String())
	l.r.Reset()
	if late := l.resolve("c", l.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)); len(late) != 0 {
		t.Error("something was remembered")
	}
}

// TestBounds: memory does not grow with what comes in.
func TestBounds(t *testing.T) {
	reg := prometheus.NewRegistry()
	r, err := identity.New(identity.Options{Flows: 10, Listeners: 10, Addresses: 10, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, r: r}
	for i := range uint32(1000) {
		w := who{"c", "n1", fmt.Sprint("w", i)}
		l.resolve("c", l.outbound(w, fmt.Sprintf("10.1.%d.%d", i/256, i%256), "10.0.0.2", 80, i+1), l.listen(w, "0.0.0.0", i+1))
	}
	if got := r.Size(); got != (identity.Size{Flows: 10, Ports: 10, Listeners: 10, Addresses: 10}) {
		t.Errorf("size %+v", got)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "spoor_collector_identity_forgotten_total" {
				lost[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	for _, what := range []string{"flow", "listener", "address"} {
		if lost[what] != 990 {
			t.Errorf("%v %ss counted as forgotten, want 990", lost[what], what)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	r, err := identity.New(identity.Options{Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	l := &lab{r: r}
	var evs []*spoorv1.Event
	for i := range uint32(1000) {
		a := fmt.Sprintf("10.1.%d.%d", i%7, i%250)
		evs = append(evs, l.outbound(client, a, "10.0.0.2", 80, 30000+i), l.inbound(server, "10.0.0.2", 80, a, 30000+i))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, ev := range evs {
			ev.Id += uint64(len(evs))
			ev.GetFlow().GetPeer().ExecId, ev.GetFlow().GetPeer().Workload = "", nil
		}
		r.Resolve([]identity.Batch{{Cluster: "c", Events: evs}})
		n += len(evs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

// with tells the addresses of an event's instance.
func with(ev *spoorv1.Event, instance string, addresses ...string) *spoorv1.Event {
	ev.Instance.Id, ev.Instance.Addresses = instance, addresses
	return ev
}

// Who only sends datagrams has no record of its own; by its address it is known all the same, also when that is told later.
func TestAddressesNameWhoDoesNotTell(t *testing.T) {
	l := newLab(t, identity.Options{})
	meter, shop, other := who{"c", "n1", "meter"}, who{"c", "n2", "shop"}, who{"d", "n1", "other"}
	early := l.inbound(meter, "10.244.1.2", 9125, "10.244.2.7", 40001)
	l.r.Resolve([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{early}}})
	if p := early.GetFlow().GetPeer(); p.GetWorkload() != nil {
		t.Fatalf("the peer is %v before anybody told", p)
	}
	elsewhere := with(l.event(other), "o", "10.244.2.7")
	l.r.Resolve([]identity.Batch{{Cluster: "d", Events: []*spoorv1.Event{elsewhere}}})
	late := l.r.Resolve([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{with(l.event(shop), "s", "10.244.2.7", "not an address")}}})
	if len(late) != 1 || late[0].GetFlow().GetPeer().GetWorkload().GetName() != "shop" {
		t.Errorf("named later: %v", late)
	}
	l.at += time.Second
	again := l.inbound(meter, "10.244.1.2", 9125, "10.244.2.7", 40002)
	l.r.Resolve([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{again}}})
	if got := again.GetFlow().GetPeer().GetWorkload().GetName(); got != "shop" {
		t.Errorf("the peer is %q", got)
	}
	// The address is given to another pod; what the first did stays its own.
	l.at += time.Hour
	l.r.Resolve([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{with(l.event(who{"c", "n2", "next"}), "x", "10.244.2.7")}}})
	now := l.inbound(meter, "10.244.1.2", 9125, "10.244.2.7", 40003)
	l.at -= time.Hour
	before := l.inbound(meter, "10.244.1.2", 9125, "10.244.2.7", 40004)
	l.r.Resolve([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{now, before}}})
	if a, b := now.GetFlow().GetPeer().GetWorkload().GetName(), before.GetFlow().GetPeer().GetWorkload().GetName(); a != "next" || b != "shop" {
		t.Errorf("the peers are %q and %q, want next and shop", a, b)
	}
}

// What the client's node made of a connection is what the server sees of it.
func TestTranslationsJoin(t *testing.T) {
	l := newLab(t, identity.Options{})
	client, near, far := who{"c", "n1", "customer"}, who{"c", "n1", "storefront-near"}, who{"c", "n2", "storefront-far"}
	in1 := l.inbound(near, "10.244.1.2", 8080, "10.99.0.11", 50001)
	in2 := l.inbound(far, "10.244.2.2", 8080, "10.99.0.11", 50002)
	out := l.outbound(client, "10.99.0.11", "10.96.0.10", 80, 40001, 40002)
	out.GetFlow().Translations = []*spoorv1.Translation{
		{Server: &spoorv1.Endpoint{Address: "10.244.1.2", Port: 8080}, Client: &spoorv1.Endpoint{Address: "10.99.0.11", Port: 50001}},
		{Server: &spoorv1.Endpoint{Address: "10.244.2.2", Port: 8080}, Client: &spoorv1.Endpoint{Address: "10.99.0.11", Port: 50002}},
		{Server: &spoorv1.Endpoint{Address: "?"}, Client: &spoorv1.Endpoint{Address: "?"}},
	}
	l.r.Resolve([]identity.Batch{{Cluster: "c", Events: []*spoorv1.Event{in1, in2, out}}})
	for _, in := range []*spoorv1.Event{in1, in2} {
		if got := in.GetFlow().GetPeer().GetExecId(); got != client.String() {
			t.Errorf("who called %s is %q", in.GetFlow().GetLocal().GetAddress(), got)
		}
	}
	if got := out.GetFlow().GetPeer().GetExecId(); got != near.String() && got != far.String() {
		t.Errorf("who was called is %q", got)
	}
}
