// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func TestEgress(t *testing.T) {
	noCalls := doc("c", `{kind: Deployment, name: checkout}, calls: []`)
	noWord := doc("c", `{kind: Deployment, name: checkout}`)
	refused := call("10.99.0.1", 22)
	refused.Opened, refused.Refused = 0, 3
	unix := call("", 0)
	unix.Transport = spoorv1.Transport_TRANSPORT_UNIX
	self := call("127.0.0.1", 6379)
	onHost := func(w *spoorv1.Workload) *spoorv1.Flow { return callOf(w, "127.0.0.1", 5432) }

	for _, tc := range []struct {
		name     string
		contract string
		workload *spoorv1.Workload
		flow     *spoorv1.Flow
		want     []string
	}{
		{"a workload that is named", checkoutContract, checkout, callOf(payments, "10.1.0.8", 8443), nil},
		{"at another port", checkoutContract, checkout, callOf(payments, "10.1.0.8", 22), []string{"medium flow.egress east/shop/Deployment/payments:22/tcp"}},
		{"by another transport", checkoutContract, checkout, udp(callOf(payments, "10.1.0.8", 8443)), []string{"medium flow.egress east/shop/Deployment/payments:8443/udp"}},
		{"another workload", checkoutContract, checkout, callOf(stranger, "10.1.0.9", 8443), []string{"medium flow.egress east/lab/Deployment/stranger:8443/tcp"}},
		{"another workload behind a range that is named", checkoutContract, checkout, callOf(stranger, "10.20.3.4", 5432), nil},
		{"a name that is named", checkoutContract, checkout, callNamed("API.stripe.com.", "203.0.113.7", 443), nil},
		{"another name", checkoutContract, checkout, callNamed("api.evil.example", "203.0.113.7", 443), []string{"high flow.egress api.evil.example:443/tcp"}},
		{"a range that is named", checkoutContract, checkout, call("10.20.255.1", 5432), nil},
		{"v4-mapped", checkoutContract, checkout, call("::ffff:10.20.255.1", 5432), nil},
		{"an address on the Internet", checkoutContract, checkout, call("203.0.113.7", 25), []string{"high flow.egress 203.0.113.7:25/tcp"}},
		{"a private address", checkoutContract, checkout, call("10.99.0.1", 25), []string{"medium flow.egress 10.99.0.1:25/tcp"}},
		{"an IPv6 address", checkoutContract, checkout, call("2001:db9::1", 25), []string{"high flow.egress [2001:db9::1]:25/tcp"}},
		{"an attempt", checkoutContract, checkout, refused, []string{"medium flow.egress 10.99.0.1:22/tcp"}},
		{"no address", checkoutContract, checkout, call("", 25), []string{"medium flow.egress an unknown address:25/tcp"}},
		{"a Unix socket", checkoutContract, checkout, unix, nil},
		{"the loopback of its pod", checkoutContract, checkout, self, nil},
		{"its own address", checkoutContract, checkout, callOf(checkout, "10.1.0.7", 9000), nil},
		{"another replica", checkoutContract, checkout, callOf(checkout, "10.1.0.6", 9000), []string{"medium flow.egress east/shop/Deployment/checkout:9000/tcp"}},
		{"a resolver nearby", checkoutContract, checkout, udp(call("10.96.0.10", 53)), nil},
		{"a resolver on the Internet", checkoutContract, checkout, udp(call("203.0.113.53", 53)), []string{"high flow.egress 203.0.113.53:53/udp"}},
		{"a resolver for nobody who needs names", noCalls, checkout, udp(call("10.96.0.10", 53)), []string{"medium flow.egress 10.96.0.10:53/udp"}},
		{"nothing is allowed", noCalls, checkout, callOf(payments, "10.1.0.8", 8443), []string{"medium flow.egress east/shop/Deployment/payments:8443/tcp"}},
		{"nothing was said", noWord, checkout, callOf(payments, "10.1.0.8", 8443), nil},
		{"a unit of the host by loopback", batchContract, batch, onHost(&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "db.service"}), nil},
		{"the same unit of another node", batchContract, batch, onHost(&spoorv1.Workload{Namespace: "node2", Kind: "Unit", Name: "db.service"}), []string{"medium flow.egress node2/Unit/db.service:5432/tcp"}},
		{"itself by loopback", batchContract, batch, onHost(batch), nil},
		{"no contract", checkoutContract, stranger, call("203.0.113.7", 25), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene(t, tc.contract)
			s.workload = tc.workload
			s.soon(tc.flow, tc.want...)
		})
	}
}

func TestEgressVerdict(t *testing.T) {
	s := newScene(t, checkoutContract)
	f := call("203.0.113.7", 25)
	f.BytesSent, f.BytesReceived = 5<<20, 100
	s.sees(f, "high flow.egress 203.0.113.7:25/tcp")
	v := s.last[0]
	for what, pair := range map[string][2]string{
		"title": {v.Title, "Deployment shop/checkout calls 203.0.113.7:25/tcp, which its contract does not have"},
		"why":   {v.Why, "Nobody agreed to this call, and its peer is on the Internet: it may be data that leaves, or a dependency that nobody watches. The call was made by app (/usr/bin/app); 5MiB were sent and 100 bytes received."},
		"fix":   {v.Fix, "Find out why Deployment shop/checkout makes this call, and stop it if nobody needs it. If it is meant, add it to spec.calls of contract shop/checkout (test.yaml:2): - {cidr: 203.0.113.7/32, port: 25, transport: tcp}"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s:\n got %s\nwant %s", what, pair[0], pair[1])
		}
	}
	refused := callOf(stranger, "10.1.0.9", 22)
	refused.Opened, refused.Refused = 0, 3
	s.sees(refused, "medium flow.egress east/lab/Deployment/stranger:22/tcp")
	v = s.last[0]
	if want := "Deployment shop/checkout tries to call east/lab/Deployment/stranger:22/tcp, which its contract does not have"; v.Title != want {
		t.Errorf("title %q", v.Title)
	}
	if want := "- {workload: lab/Deployment/stranger, port: 22, transport: tcp}"; !strings.HasSuffix(v.Fix, want) {
		t.Errorf("fix %q", v.Fix)
	}
	if !strings.Contains(v.Why, "its address is 10.1.0.9 and 3 attempts were refused") {
		t.Errorf("why %q", v.Why)
	}
}

// A peer whose identity may still come is waited for.
func TestUnknownPeerIsWaitedFor(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(s *scene)
	}{
		{"it stays unknown", func(s *scene) {
			s.sees(call("10.1.0.8", 8443))
			s.tick(9 * time.Second)
			s.tick(time.Second, "medium flow.egress 10.1.0.8:8443/tcp")
			// Once told, it is not waited for again.
			s.after(5*time.Minute).sees(call("10.1.0.8", 8443), "medium flow.egress 10.1.0.8:8443/tcp")
		}},
		{"it turns out to be allowed", func(s *scene) {
			s.sees(call("10.1.0.8", 8443))
			s.after(5 * time.Second).sees(callOf(payments, "10.1.0.8", 8443))
			s.tick(time.Hour)
			if n := s.judge.Stats().Held; n != 0 {
				s.t.Errorf("%d flows are held", n)
			}
		}},
		{"it turns out to be another", func(s *scene) {
			s.sees(call("10.1.0.8", 8443))
			s.after(5*time.Second).sees(callOf(stranger, "10.1.0.8", 8443), "medium flow.egress east/lab/Deployment/stranger:8443/tcp")
			s.tick(time.Hour)
		}},
		{"it turns out to be allowed, too late", func(s *scene) {
			s.sees(call("10.1.0.8", 8443))
			s.tick(10*time.Second, "medium flow.egress 10.1.0.8:8443/tcp")
			s.sees(callOf(payments, "10.1.0.8", 8443))
			s.tick(10*time.Second, "cleared flow.egress 10.1.0.8:8443/tcp")
		}},
		{"many flows wait as one", func(s *scene) {
			for range 100 {
				s.sees(call("10.1.0.8", 8443))
			}
			s.tick(10*time.Second, "medium flow.egress 10.1.0.8:8443/tcp")
		}},
		{"it could be nobody who is allowed, and has a name all the same", func(s *scene) {
			s.sees(call("10.99.0.1", 22))
			s.after(time.Second).sees(callOf(stranger, "10.99.0.1", 22), "medium flow.egress east/lab/Deployment/stranger:22/tcp")
			s.tick(time.Hour)
		}},
		{"it is known after it was told of", func(s *scene) {
			s.sees(call("203.0.113.7", 22), "high flow.egress 203.0.113.7:22/tcp")
			s.sees(callOf(stranger, "203.0.113.7", 22), "medium flow.egress east/lab/Deployment/stranger:22/tcp")
			s.tick(time.Minute, "cleared flow.egress 203.0.113.7:22/tcp")
		}},
		{"a caller is known after it was told of", func(s *scene) {
			s.soon(calledBy(nil, "10.1.0.8", 8443), "medium flow.caller 10.1.0.0/24 -> 8443/tcp")
			s.sees(calledBy(frontend, "10.1.0.8", 8443))
			s.tick(time.Minute, "cleared flow.caller 10.1.0.0/24 -> 8443/tcp")
		}},
		{"one of two callers is known after they were told of", func(s *scene) {
			s.soon(calledBy(nil, "10.1.0.8", 8443), "medium flow.caller 10.1.0.0/24 -> 8443/tcp")
			s.sees(calledBy(nil, "10.1.0.9", 8443))
			s.sees(calledBy(frontend, "10.1.0.8", 8443))
			s.tick(time.Minute)
		}},
		{"a caller that stays unknown", func(s *scene) {
			s.sees(calledBy(nil, "10.1.0.8", 8443))
			s.tick(10*time.Second, "medium flow.caller 10.1.0.0/24 -> 8443/tcp")
		}},
		{"somebody behind the loopback of a host", func(s *scene) {
			s.workload = batch
			s.sees(call("127.0.0.1", 6379))
			s.tick(10*time.Second, "medium flow.egress 127.0.0.1:6379/tcp")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.play(newScene(t, checkoutContract, batchContract)) })
	}
}

func TestCallsByName(t *testing.T) {
	answer := &spoorv1.Dns{Name: "API.Stripe.com.", Addresses: []string{"203.0.113.7", "not an address"}}
	for _, tc := range []struct {
		name string
		play func(s *scene)
	}{
		{"a node that reports no names cannot tell", func(s *scene) {
			s.sees(call("203.0.113.7", 443), "low flow.egress peers without a name:443/tcp")
			if want := "Deployment shop/checkout calls 203.0.113.7:443/tcp, and it is not known by which name"; s.last[0].Title != want {
				s.t.Errorf("title %q", s.last[0].Title)
			}
			s.sees(call("203.0.113.8", 443)) // the same cause
		}},
		{"the answer came before the call", func(s *scene) {
			s.sees(answer)
			s.sees(call("203.0.113.7", 443))
			s.tick(time.Hour)
		}},
		{"the answer is told after the call", func(s *scene) {
			s.sees(&spoorv1.Coverage{Sensor: "dns", Tier: "base"})
			s.sees(call("203.0.113.7", 443))
			s.after(3 * time.Second).sees(answer)
			s.tick(time.Hour)
		}},
		{"nobody asked for a name", func(s *scene) {
			s.sees(&spoorv1.Coverage{Sensor: "dns", Tier: "base"})
			s.sees(call("203.0.113.7", 443))
			s.tick(10*time.Second, "high flow.egress 203.0.113.7:443/tcp")
		}},
		{"another name was asked for", func(s *scene) {
			s.sees(&spoorv1.Dns{Name: "evil.example", Addresses: []string{"203.0.113.7"}})
			s.sees(call("203.0.113.7", 443), "high flow.egress evil.example:443/tcp")
			if want := "- {dns: evil.example, port: 443, transport: tcp}"; !strings.HasSuffix(s.last[0].Fix, want) {
				s.t.Errorf("fix %q", s.last[0].Fix)
			}
		}},
		{"one address behind many names", func(s *scene) {
			s.sees(&spoorv1.Dns{Name: "evil.example", Addresses: []string{"203.0.113.7"}})
			s.sees(answer)
			s.sees(call("203.0.113.7", 443))
		}},
		{"the answer was another node's", func(s *scene) {
			ev := s.event(answer)
			ev.Node = "node2"
			s.expect("dns", s.judge.Observe(ev), nil)
			s.sees(call("203.0.113.7", 443), "low flow.egress peers without a name:443/tcp")
		}},
		{"the sensor went off", func(s *scene) {
			s.sees(&spoorv1.Coverage{Sensor: "dns", Tier: "base"})
			s.judge.Observe(s.event(&spoorv1.Coverage{Sensor: "dns", Tier: "off"}))
			s.sees(call("203.0.113.7", 443), "low flow.egress peers without a name:443/tcp")
		}},
		{"on another port names do not matter", func(s *scene) {
			s.sees(call("203.0.113.7", 444), "high flow.egress 203.0.113.7:444/tcp")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.play(newScene(t, checkoutContract)) })
	}
}

func TestCaller(t *testing.T) {
	attempt := calledBy(stranger, "10.1.0.9", 8443)
	attempt.Opened, attempt.Refused = 0, 1
	lasting := calledBy(stranger, "10.1.0.9", 8443)
	lasting.Opened, lasting.BytesReceived = 0, 5
	kubelet := &spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "kubelet.service"}
	otherKubelet := &spoorv1.Workload{Namespace: "node2", Kind: "Unit", Name: "kubelet.service"}
	for _, tc := range []struct {
		name string
		flow *spoorv1.Flow
		want []string
	}{
		{"a workload that is named", calledBy(frontend, "10.1.0.8", 8443), nil},
		{"at another port", calledBy(frontend, "10.1.0.8", 22), []string{"medium flow.caller east/shop/Deployment/frontend -> 22/tcp"}},
		{"another workload", calledBy(stranger, "10.1.0.9", 8443), []string{"medium flow.caller east/lab/Deployment/stranger -> 8443/tcp"}},
		{"a connection that lasts", lasting, []string{"medium flow.caller east/lab/Deployment/stranger -> 8443/tcp"}},
		{"an attempt", attempt, nil},
		{"a range that is named", calledBy(nil, "10.9.1.2", 22), nil},
		{"the Internet", calledBy(nil, "203.0.113.7", 22), []string{"high flow.caller the Internet -> 22/tcp"}},
		{"the kubelet of its node", calledBy(kubelet, "10.1.0.1", 8443), nil},
		{"the kubelet of another", calledBy(otherKubelet, "10.1.0.1", 8443), []string{"medium flow.caller node2/Unit/kubelet.service -> 8443/tcp"}},
		{"its own pod", calledBy(nil, "127.0.0.1", 9000), nil},
		{"another replica", calledBy(checkout, "10.1.0.6", 8443), []string{"medium flow.caller east/shop/Deployment/checkout -> 8443/tcp"}},
		{"IPv6", calledBy(nil, "fd00:1:2:3:4::1", 22), []string{"medium flow.caller fd00:1:2:3::/64 -> 22/tcp"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			newScene(t, checkoutContract).soon(tc.flow, tc.want...)
		})
	}
}

func TestCallerVerdict(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(calledBy(stranger, "10.1.0.9", 8443), "medium flow.caller east/lab/Deployment/stranger -> 8443/tcp")
	v := s.last[0]
	if want := "Deployment shop/checkout is called by east/lab/Deployment/stranger on 8443/tcp, which its contract does not have"; v.Title != want {
		t.Errorf("title %q", v.Title)
	}
	if want := "add it to spec.callers of contract shop/checkout (test.yaml:2): - {workload: lab/Deployment/stranger, port: 8443, transport: tcp}"; !strings.HasSuffix(v.Fix, want) {
		t.Errorf("fix %q", v.Fix)
	}
}

func TestListener(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(listens("0.0.0.0", 8443))
	s.sees(listens("0.0.0.0", 9000), "medium flow.listener *:9000/tcp")
	s.sees(listens("10.1.0.7", 9000)) // the same, seen from another side
	s.sees(listens("127.0.0.1", 6060), "low flow.listener localhost:6060/tcp")
	s.sees(listens("::", 40123), "medium flow.listener *:32768-60999/tcp")
	if want := "Deployment shop/checkout listens on 40123/tcp, which its contract does not have"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
	if want := "add it to spec.listens of contract shop/checkout (test.yaml:2): - {port: 32768-60999, transport: tcp}"; !strings.HasSuffix(s.last[0].Fix, want) {
		t.Errorf("fix %q", s.last[0].Fix)
	}
	s.sees(closed(listens("0.0.0.0", 9000)))
	s.tick(time.Minute) // one of two is left
	s.sees(closed(listens("10.1.0.7", 9000)))
	s.tick(time.Minute, "cleared flow.listener *:9000/tcp")
	s.sees(closed(listens("0.0.0.0", 8443)))
	s.workload = stranger
	s.sees(listens("0.0.0.0", 9000))
}

// A scan of everything must neither fill the store with findings nor the memory with peers.
func TestManyPeersBecomeOneVerdict(t *testing.T) {
	s := newScene(t, checkoutContract)
	told := map[string]int{}
	for i := range 2000 {
		for _, v := range s.judge.Observe(s.event(call(fmt.Sprintf("198.18.%d.%d", i/256, i%256), 22))) {
			told[v.Subject]++
		}
	}
	limit := s.judge.limits.MattersPerRule
	if len(told) != limit+1 || told["all others"] != 1 {
		t.Errorf("%d subjects, %d times all others", len(told), told["all others"])
	}
	// One that is over makes room for a new one.
	s.after(5 * time.Minute)
	s.sees(call("198.18.200.1", 22), "high flow.egress all others")
	if !strings.Contains(s.last[0].Title, "many more peers that its contract does not have, last 198.18.200.1:22/tcp") {
		t.Errorf("title %q", s.last[0].Title)
	}
}
