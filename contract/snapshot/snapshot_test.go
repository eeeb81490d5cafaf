// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

type animal interface{ sound() string }

type dog struct{ name string }

func (d *dog) sound() string { return d.name }

type house struct {
	first   *room
	rooms   map[netip.Addr]*room
	pets    []animal
	loudest animal
	event   *spoorv1.Event
	again   *spoorv1.Event
	fixed   [2]room
	none    map[string]int
	empty   []int32
	ratio   float64
	open    bool
	greet   func() string
	owner   *string `snapshot:"-"`
}

type room struct {
	in    *house
	built time.Time
	size  int64
}

func theHouse() *house {
	rex, at := &dog{"rex"}, time.Date(2026, 5, 1, 6, 0, 0, 7, time.UTC)
	h := &house{ratio: 0.5, open: true, pets: []animal{rex, nil, &dog{}}, loudest: rex, empty: []int32{}, event: &spoorv1.Event{Id: 7, Node: "n"}}
	h.again, h.fixed[1] = h.event, room{h, at, -3}
	h.first = &room{in: h, built: at}
	h.rooms = map[netip.Addr]*room{netip.MustParseAddr("::1"): h.first, {}: nil}
	return h
}

func TestSnapshot(t *testing.T) {
	data, err := Marshal(theHouse(), (*dog)(nil))
	if err != nil {
		t.Fatal(err)
	}
	owner := "me"
	h := &house{greet: func() string { return "hello" }, owner: &owner, none: map[string]int{"left": 1}, first: &room{size: 9}}
	first := h.first
	if err := Unmarshal(data, h, (*dog)(nil)); err != nil {
		t.Fatal(err)
	}
	want := theHouse()
	switch {
	case h.first != h.rooms[netip.MustParseAddr("::1")] || h.first.in != h || h.fixed[1].in != h || h.loudest != h.pets[0] || h.event != h.again:
		t.Error("what was one thing is two")
	case h.first != first || h.greet() != "hello" || h.owner != &owner:
		t.Error("what was there, or was left out, is another thing")
	case len(h.rooms) != 2 || h.rooms[netip.Addr{}] != nil || h.first.built != want.first.built || h.first.size != 0 || h.fixed[0] != (room{}) || h.fixed[1].size != -3:
		t.Errorf("rooms: %+v", h.rooms)
	case len(h.pets) != 3 || h.loudest.sound() != "rex" || h.pets[1] != nil || h.pets[2].sound() != "":
		t.Errorf("pets: %+v", h.pets)
	case !proto.Equal(h.event, want.event) || h.none != nil || h.empty == nil || h.ratio != 0.5 || !h.open:
		t.Errorf("%+v", h)
	}
}

func TestOtherForms(t *testing.T) {
	data, err := Marshal(theHouse(), (*dog)(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal(data, &room{}, (*dog)(nil)); !errors.Is(err, ErrForm) {
		t.Errorf("a house was read as a room: %v", err)
	}
	if err := Unmarshal(data, &house{}); !errors.Is(err, ErrForm) {
		t.Errorf("a house without dogs was read: %v", err)
	}
	if _, err := Marshal(theHouse()); err == nil {
		t.Error("a dog was written that nobody had spoken of")
	}
	type pipe struct{ C chan int }
	if _, err := Marshal(&pipe{}); err == nil {
		t.Error("a channel was written")
	}
	for n := range data {
		if err := Unmarshal(data[:n], &house{}, (*dog)(nil)); err == nil {
			t.Fatalf("%d of %d bytes were a house", n, len(data))
		}
	}
}

// FuzzUnmarshal reads anything: it fails, or it does not.
func FuzzUnmarshal(f *testing.F) {
	data, err := Marshal(theHouse(), (*dog)(nil))
	if err != nil {
		f.Fatal(err)
	}
	const head = 8
	f.Add(data[head:])
	f.Fuzz(func(_ *testing.T, rest []byte) {
		_ = Unmarshal(append(data[:head:head], rest...), &house{}, (*dog)(nil))
	})
}
