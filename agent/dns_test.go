// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/workload"
)

var namedAddress = netip.MustParseAddr("192.0.2.1")

func namesOf(t *testing.T, size int) *askedNames {
	t.Helper()
	n, err := newAskedNames(size)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhoAskedIsPreferred(t *testing.T) {
	n, now := namesOf(t, 10), time.Unix(1000, 0)
	shop, bank := new(workload.Instance), new(workload.Instance)
	asker := func(tgid uint32, in *workload.Instance) *process.Process {
		return &process.Process{Who: sensor.Who{Tgid: tgid}, Instance: in}
	}
	one, sibling, other := asker(1, shop), asker(2, shop), asker(3, bank)
	learn := func(p *process.Process, name string) {
		n.learn(now, 7, p, name, time.Second, []netip.Addr{namedAddress})
	}
	want := func(p *process.Process, netNS uint32, name string) {
		t.Helper()
		if got := n.find(now, netNS, p, namedAddress); got != name {
			t.Errorf("process %d found the address by %q, want %q", p.Who.Tgid, got, name)
		}
	}
	want(one, 7, "")
	learn(other, "bank.test")
	want(one, 7, "bank.test") // a resolver that serves others, say
	want(one, 8, "")          // an address means something else there
	learn(sibling, "shop.test")
	learn(other, "bank.test")
	want(one, 7, "shop.test")
	learn(one, "a.test")
	learn(one, "b.test")
	learn(sibling, "shop.test")
	want(one, 7, "b.test")
	learn(one, "a.test") // the last that it asked for
	want(one, 7, "a.test")
	want(other, 7, "bank.test")
}

func TestNamesAreKeptWhileTheyAreUsed(t *testing.T) {
	n, now := namesOf(t, 10), time.Unix(1000, 0)
	p := new(process.Process)
	n.learn(now, 7, p, "shop.test", time.Second, []netip.Addr{namedAddress})
	for range 10 {
		now = now.Add(nameKept - time.Second)
		if got := n.find(now, 7, p, namedAddress); got != "shop.test" {
			t.Fatalf("after %s the name is %q", now, got)
		}
	}
	if got := n.find(now.Add(nameKept), 7, p, namedAddress); got != "" {
		t.Errorf("a name that nobody used is %q", got)
	}
	n.learn(now, 7, p, "long.test", 1000*time.Hour, []netip.Addr{namedAddress})
	if got := n.find(now.Add(nameKeptMost), 7, p, namedAddress); got != "" {
		t.Errorf("a name with a long life is %q", got)
	}
}

func TestForgottenNamesAreCounted(t *testing.T) {
	n, now := namesOf(t, 2), time.Unix(1000, 0)
	p := new(process.Process)
	for i := range namesOfAddress + 3 {
		n.learn(now, 7, p, fmt.Sprintf("n%d.test", i), time.Second, []netip.Addr{namedAddress})
	}
	if n.evicted != 3 {
		t.Errorf("%d names of an address that has too many are counted, want 3", n.evicted)
	}
	for i := range byte(2) {
		n.learn(now, 7, p, "other.test", time.Second, []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 100 + i})})
	}
	if n.evicted != 3+namesOfAddress {
		t.Errorf("%d names are counted, want %d: an address with all its names was forgotten", n.evicted, 3+namesOfAddress)
	}
	n.learn(now.Add(nameKept), 7, p, "late.test", time.Second, []netip.Addr{namedAddress})
	if n.evicted != 3+namesOfAddress {
		t.Errorf("a name that was not good any more is counted")
	}
}
