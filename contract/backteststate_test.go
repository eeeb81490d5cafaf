// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// chronicler makes up a history in which a few workloads on two nodes do, again and again, all that a judge looks at: things begin, go
// on, end and come back, after moments or after days.
type chronicler struct {
	*rand.Rand
	*scene
}

func (c *chronicler) event() *spoorv1.Event {
	// Mostly seconds, and now and then up to a day and a half.
	pause := time.Duration(c.IntN(20)) * time.Second
	if c.IntN(15) == 0 {
		pause = time.Duration(c.IntN(36*60)) * time.Minute
	}
	c.now = c.now.Add(pause)
	c.workload = []*spoorv1.Workload{checkout, checkout, checkout, payments, frontend, stranger, batch}[c.IntN(7)]
	c.instance, c.tgid = fmt.Sprintf("%s-%d", c.workload.GetName(), c.IntN(3)), uint32(100+c.IntN(6))
	ev := c.scene.event(c.fact())
	ev.Node = fmt.Sprintf("node%d", 1+c.IntN(2))
	ev.Instance.PodUid, ev.Instance.ContainerName = []string{"", "pod"}[c.IntN(2)], []string{"app", "proxy"}[c.IntN(2)]
	if ev.GetProcessStart() != nil {
		ev.Process.Exe = c.path()
	}
	return ev
}

func (c *chronicler) path() string {
	return []string{
		"/tmp/up", "/tmp/more", "/run/app/x", "/run/app/y", "/app/x", "/app/y.log", "/app/data.db", "/app/data.db-wal", "/var/cache/tpl/a", "/srv/sessions/1", "/srv/pg_wal/1", "/opt/new",
	}[c.IntN(12)]
}

func (c *chronicler) file() *spoorv1.File {
	return inode(c.path(), uint64(1+c.IntN(15)), []spoorv1.StorageClass{layer, layer, emptyDir, claim, hostPath}[c.IntN(5)])
}

func (c *chronicler) peer() (address string, port uint32) {
	return []string{"203.0.113.7", "203.0.113.8", "10.99.0.1", "10.20.0.3", "198.51.100.9"}[c.IntN(5)], []uint32{25, 443, 5432, 6379, 8443}[c.IntN(5)]
}

func (c *chronicler) fact() any {
	address, port := c.peer()
	other := []*spoorv1.Workload{checkout, payments, frontend, stranger}[c.IntN(4)]
	switch c.IntN(16) {
	case 0, 1, 2:
		return writeSize(c.file(), uint64(c.IntN(4)*4096))
	case 3:
		return create(c.file())
	case 4:
		return unlink(c.file())
	case 5:
		return rename(c.file(), c.path())
	case 6:
		return link(c.file(), c.path())
	case 7:
		return &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC}
	case 8:
		return &spoorv1.ProcessExit{}
	case 9:
		return call(address, port)
	case 10:
		f := callOf(other, address, port)
		if c.IntN(3) == 0 {
			f.Opened, f.Refused = 0, 60
		}
		return f
	case 11:
		return calledBy([]*spoorv1.Workload{nil, other}[c.IntN(2)], address, 8443)
	case 12:
		return &spoorv1.Dns{Name: []string{"api.stripe.com", "elsewhere.example"}[c.IntN(2)], Addresses: []string{address}}
	case 13:
		l := listens("0.0.0.0", uint32(9000+c.IntN(3)))
		l.Closed = c.IntN(2) == 0
		return l
	case 14:
		kind := []spoorv1.Share_Kind{spoorv1.Share_KIND_FILE, spoorv1.Share_KIND_MEMORY, spoorv1.Share_KIND_SOCKET}[c.IntN(3)]
		return &spoorv1.Share{Kind: kind, Access: spoorv1.Share_ACCESS_READ, File: c.file(), Other: other, OtherInstance: "checkout-0"}
	default:
		if c.IntN(2) == 0 {
			return &spoorv1.Loss{Source: "file", Reason: "map_full", Count: 3}
		}
		return &spoorv1.Coverage{Sensor: []string{"dns", "file"}[c.IntN(2)], Tier: []string{"off", "base", "full"}[c.IntN(3)]}
	}
}

// said is everything that a result says.
func said(t *testing.T, r *BacktestResult) string {
	t.Helper()
	verdicts := slices.Concat(r.OnlyCurrent, r.OnlyProposed)
	text, err := json.MarshalIndent([]any{r, r.From, r.To, len(r.OnlyCurrent), verdicts}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A back-test that is stopped anywhere and resumed gives the answer of one that was not.
func TestResumedBacktest(t *testing.T) {
	current := checkoutContract + "\n---\n" + batchContract
	proposed := strings.Replace(current, "listens: [{port: 8443}]", "listens: [{port: 8443}, {port: 9000}]", 1)
	begin := func() *Backtest { return NewBacktest(mustSet(t, current), mustSet(t, proposed)) }
	rules := map[string]bool{}
	for seed := range uint64(4) {
		c := &chronicler{Rand: rand.New(rand.NewPCG(seed, 1)), scene: newScene(t)}
		var all []*spoorv1.Event
		for range 300 {
			all = append(all, c.event())
		}
		whole, again := begin(), begin()
		again.Observe(all...)
		states := map[int][]byte{}
		for i, ev := range all {
			if i%4 == int(seed) {
				var err error
				if states[i], err = whole.State(); err != nil {
					t.Fatal(err)
				}
			}
			whole.Observe(ev)
		}
		result := whole.Result()
		for _, d := range result.Days {
			rules[d.Rule] = true
		}
		want := said(t, result)
		if diff := cmp.Diff(want, said(t, again.Result())); diff != "" {
			t.Fatalf("seed %d: the same events gave another answer:\n%s", seed, diff)
		}
		for cut, state := range states {
			after := begin()
			if err := after.Resume(state); err != nil {
				t.Fatal(err)
			}
			after.Observe(all[cut:]...)
			if diff := cmp.Diff(want, said(t, after.Result())); diff != "" {
				t.Fatalf("seed %d, resumed after %d of %d events:\n%s", seed, cut, len(all), diff)
			}
		}
	}
	if len(rules) < len(Rules())-3 {
		t.Errorf("few rules had anything to say: %v", rules)
	}
	if err := begin().Resume([]byte("{")); err == nil {
		t.Error("half a state was taken")
	}
}
