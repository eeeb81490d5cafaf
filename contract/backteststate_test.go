// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// busyWeek is a history in which things begin, go on, end and come back.
func busyWeek(t *testing.T) []*spoorv1.Event {
	t.Helper()
	s := newScene(t)
	var all []*spoorv1.Event
	play := func(facts ...any) {
		for _, fact := range facts {
			s.after(time.Second)
			ev := s.event(fact)
			ev.Id = uint64(len(all) + 1)
			all = append(all, ev)
		}
	}
	play(write(inode("/srv/kept.dat", 1, layer)))
	for day := range 7 {
		play(listens("0.0.0.0", 9000), call("203.0.113.7", 25), write(inode("/app/x", 7, layer)))
		s.after(5 * time.Hour)
		play(closed(listens("0.0.0.0", 9000)), unlink(inode("/app/x", 7, layer)))
		s.after(7 * time.Hour)
		for n := range 20 {
			play(write(inode("/tmp/up", uint64(100*day+n+10), layer)), unlink(inode("/tmp/up", uint64(100*day+n+10), layer)))
		}
		play(call("203.0.113.8", uint32(1000+day)), write(inode("/srv/kept.dat", 1, layer)))
		s.after(12 * time.Hour)
	}
	return all
}

// A back-test that is stopped anywhere and resumed gives the answer of one that was not.
func TestResumedBacktest(t *testing.T) {
	proposed := strings.Replace(checkoutContract, "listens: [{port: 8443}]", "listens: [{port: 8443}, {port: 9000}]", 1)
	begin := func() *Backtest { return NewBacktest(mustSet(t, checkoutContract), mustSet(t, proposed)) }
	all := busyWeek(t)
	whole := begin()
	whole.Observe(all...)
	want := whole.Result()
	if len(want.Days) < 10 || want.Both == 0 || len(want.OnlyCurrent) == 0 || want.Pages.Current.Total == 0 || want.Pages.Current.Worst == 0 {
		t.Fatalf("there is little to find: %+v", want)
	}
	for cut := 1; cut < len(all); cut += 7 {
		before := begin()
		before.Observe(all[:cut]...)
		state, err := before.State()
		if err != nil {
			t.Fatal(err)
		}
		after := begin()
		if err := after.Resume(state); err != nil {
			t.Fatal(err)
		}
		first := cut
		for first > 0 && all[cut].GetTime().AsTime().Sub(all[first-1].GetTime().AsTime()) <= BacktestMemory {
			first--
		}
		after.Remind(all[first:cut]...)
		after.Observe(all[cut:]...)
		if diff := cmp.Diff(want, after.Result(), protocmp.Transform()); diff != "" {
			t.Fatalf("resumed after %d of %d events:\n%s", cut, len(all), diff)
		}
	}
	if err := begin().Resume([]byte("{")); err == nil {
		t.Error("half a state was taken")
	}
}
