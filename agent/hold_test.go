// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// pods is a resolver with a container for each of its paths, all waiting for their names.
func pods(t *testing.T, n int) (*workload.Resolver, *workload.Directory, []*workload.Instance) {
	t.Helper()
	d, err := workload.NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	r, err := workload.New(workload.Options{Node: "n", BootID: "b", Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	var all []*workload.Instance
	for i := range n {
		id := uint64(100 + i)
		r.Learn(id, "/docker/"+containerID(i), time.Time{})
		all = append(all, r.Of(id, 0, false))
	}
	return r, d, all
}

func containerID(i int) string { return fmt.Sprintf("%064x", i) }

func record(n uint64) *spoorv1.Record { return &spoorv1.Record{TimeUnixNano: n} }

func TestHoldSendsInOrderWhenTheNameIsThere(t *testing.T) {
	r, d, in := pods(t, 2)
	h := newHold(100)
	for n := range uint64(6) {
		if crowded := h.add(in[n%2], nil, record(n)); crowded != nil {
			t.Fatal("no room for six records")
		}
	}
	var sent []string
	release := func() {
		h.release(func(in *workload.Instance, _ *spoorv1.Process, r *spoorv1.Record) {
			sent = append(sent, fmt.Sprintf("%d %s", r.GetTimeUnixNano(), in.Proto().GetWorkload().GetName()))
		})
	}
	now := time.Now()
	r.Settle(now)
	release()
	if len(sent) != 0 {
		t.Fatalf("sent before there was a name: %v", sent)
	}
	d.AddContainer(workload.Container{ID: containerID(1), Name: "one"})
	r.Settle(now)
	release()
	if want := []string{"1 one", "3 one", "5 one"}; !slices.Equal(sent, want) {
		t.Fatalf("sent %v, want %v", sent, want)
	}
	sent = nil
	r.Settle(now.Add(time.Minute)) // nobody ever told of the other
	release()
	if want := []string{"0 000000000000", "2 000000000000", "4 000000000000"}; !slices.Equal(sent, want) {
		t.Fatalf("sent %v, want %v", sent, want)
	}
	if h.count != 0 || len(h.order) != 0 || len(h.records) != 0 {
		t.Errorf("%d records of %d instances stay", h.count, len(h.records))
	}
	if r.Unnamed() != 1 {
		t.Errorf("%d containers count as unnamed, want 1", r.Unnamed())
	}
}

func TestWhoHasMostMakesRoom(t *testing.T) {
	_, _, in := pods(t, 2)
	h := newHold(5)
	quiet, loud := in[0], in[1]
	h.add(quiet, nil, record(0))
	var goes *workload.Instance
	for n := range uint64(4) {
		goes = h.add(loud, nil, record(n))
	}
	if goes != loud {
		t.Error("one that has one record goes without its name because another has many")
	}
}

func TestHoldMakesRoom(t *testing.T) {
	r, _, in := pods(t, 3)
	h := newHold(5)
	var sent strings.Builder
	for n := range uint64(12) {
		if oldest := h.add(in[n%3], nil, record(n)); oldest != nil {
			r.GiveUp(oldest)
			h.release(func(_ *workload.Instance, _ *spoorv1.Process, r *spoorv1.Record) {
				fmt.Fprint(&sent, r.GetTimeUnixNano(), " ")
			})
		}
		if h.count >= 5 {
			t.Fatalf("%d records are held", h.count)
		}
	}
	if got := sent.String(); !strings.HasPrefix(got, "0 3 ") {
		t.Errorf("sent %q, want the longest waiting first", got)
	}
	if h.crowded == 0 {
		t.Error("nobody counted that there was no room")
	}
}
