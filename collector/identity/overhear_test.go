// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/identity"
	"google.golang.org/protobuf/proto"
)

// TestOverhear: both ends of a connection tell different collectors of it, in any order. Each collector names the peer of its own flow, and leaves that
// of the other one alone.
func TestOverhear(t *testing.T) {
	overhear := func(l *lab, evs ...*spoorv1.Event) []*spoorv1.Event {
		copies := make([]*spoorv1.Event, len(evs)) // as the store has them
		for i, ev := range evs {
			copies[i] = proto.CloneOf(ev)
		}
		return l.r.Overhear([]identity.Batch{{Cluster: "c", Events: copies}})
	}
	for _, ownFirst := range []bool{true, false} {
		here, there := newLab(t, identity.Options{}), newLab(t, identity.Options{})
		c := here.outbound(client, "10.0.0.1", "10.0.0.2", 80, 40000)
		there.id = 100
		s := there.inbound(server, "10.0.0.2", 80, "10.0.0.1", 40000)
		stored := proto.CloneOf(s)
		if ownFirst {
			here.resolve("c", c)
			here.peer(c, "")
			late := overhear(here, stored)
			if len(late) != 1 || late[0].GetId() != c.GetId() {
				t.Fatalf("late: %v, want the own flow", late)
			}
			here.peer(late[0], server.String())
			here.peer(c, "") // others may be reading it: what changes is a copy
		} else {
			if late := overhear(here, stored); len(late) != 0 {
				t.Fatalf("late: %v, and nothing of this collector's was known", late)
			}
			if late := here.resolve("c", c); len(late) != 0 {
				t.Fatalf("late: %v, want the other collector's flow left to it", late)
			}
			here.peer(c, server.String())
		}
		// The other one comes to the same, from its end.
		there.resolve("c", s)
		late := overhear(there, c)
		if len(late) != 1 || late[0].GetId() != s.GetId() {
			t.Fatalf("late at the other collector: %v", late)
		}
		there.peer(late[0], client.String())
	}
}
