// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// envClient makes TestMain the client.
const envClient = "SPOOR_TEST_DNS_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(envClient) != "" {
		if err := converse(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// events collects what an agent tells of one process.
type events struct {
	mu   sync.Mutex
	told []*spoorv1.Event
}

func (e *events) keep(ev *spoorv1.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, ev)
}

func (e *events) of(tgid int) []*spoorv1.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.told), func(ev *spoorv1.Event) bool { return int(ev.GetProcess().GetTgid()) != tgid })
}

func TestFlowsCarryTheNamesThatWereAskedFor(t *testing.T) {
	for _, tier := range []string{agent.TierBase, agent.TierAuto} {
		t.Run(tier, func(t *testing.T) { flowsCarryNames(t, tier) })
	}
}

// tierOf is the tier that the sensor has to be in: the full one takes functions as they are since 5.19.
func tierOf(t *testing.T, asked string) string {
	t.Helper()
	var major, minor int
	release, _ := kernel.Release()
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if asked == agent.TierBase || kernel.Fentry() != nil || major < 5 || major == 5 && minor < 19 {
		return "base"
	}
	return "full"
}

func flowsCarryNames(t *testing.T, tier string) {
	var e events
	w, err := watch.Start(t.Context(), agent.Options{Tier: tier, Interval: 100 * time.Millisecond}, e.keep)
	if err != nil {
		t.Fatal(err)
	}
	client := exec.CommandContext(t.Context(), "/proc/self/exe")
	client.Env = append(os.Environ(), envClient+"=1", "GODEBUG=netdns=go")
	client.Stderr = os.Stderr
	client.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	ran := client.Run()
	// The agent tells everything before it stops.
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	if ran != nil {
		t.Fatal("client: ", ran)
	}
	told := e.of(client.Process.Pid)
	var coverage *spoorv1.Coverage
	for _, ev := range e.of(0) { // what no process did
		if c := ev.GetCoverage(); c.GetSensor() == "dns" {
			coverage = c
		}
		if l := ev.GetLoss(); l.GetSource() == "dns" && l.GetReason() != "unknown_owner" {
			t.Errorf("lost: %v", l)
		}
	}
	if want := tierOf(t, tier); coverage.GetTier() != want {
		t.Errorf("the sensor is in tier %q, want %s: %s", coverage.GetTier(), want, coverage.GetReason())
	}

	answers, calls := map[string]*spoorv1.Dns{}, map[string]string{}
	for _, ev := range told {
		if d := ev.GetDns(); d != nil {
			answers[d.GetName()] = d
		}
		if f := ev.GetFlow(); f.GetDirection() == spoorv1.Direction_DIRECTION_OUTBOUND && f.GetPeer().GetPort() == uint32(port) {
			calls[f.GetPeer().GetAddress()] = f.GetPeer().GetDnsName()
		}
	}
	for _, z := range []zone{aliased, plain, overIPv6} {
		name := strings.TrimSuffix(z.name, ".")
		if got := calls[z.v4]; got != name {
			t.Errorf("the call to %s is named %q, want %q", z.v4, got, name)
		}
		d := answers[name]
		if d.GetResponseCode() != 0 || !slices.Equal(d.GetAddresses(), []string{z.v4}) || d.GetTtlSeconds() != 7 || d.GetCount() == 0 {
			t.Errorf("the answer about %s is %v, want success and the address %s for 7 s", name, d, z.v4)
		}
	}
	d := answers["www.spoor.test"]
	if !slices.Equal(d.GetAliases(), []string{"edge.spoor.test"}) {
		t.Errorf("aliases are %q, want edge.spoor.test", d.GetAliases())
	}
	if types := slices.Sorted(slices.Values(d.GetTypes())); !slices.Equal(types, []string{"A", "AAAA"}) || d.GetCount() != 2 {
		t.Errorf("%d answers of types %q, want A and AAAA", d.GetCount(), types)
	}
	if s := d.GetServer(); s.GetAddress() != "127.0.0.1" || s.GetPort() != 53 {
		t.Errorf("the server is %v, want 127.0.0.1:53", s)
	}
	if s := answers["six.spoor.test"].GetServer(); s.GetAddress() != "::1" {
		t.Errorf("the server that was asked over IPv6 is %v, want ::1", s)
	}
	if d := answers["none.spoor.test"]; d.GetResponseCode() != 3 || len(d.GetAddresses()) != 0 {
		t.Errorf("the answer about a name that does not exist is %v, want code 3 and no address", d)
	}
	if d := answers["unasked.spoor.test"]; d != nil || calls[unasked.v4] != "" {
		t.Errorf("an answer that nobody asked for was believed: %v, call named %q", d, calls[unasked.v4])
	}
	if t.Failed() {
		for _, ev := range told {
			t.Log(ev)
		}
	}
}
