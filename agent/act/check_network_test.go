// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// flowsMirror: what one end sent the other received.
func flowsMirror(t *testing.T, r *Result) {
	t.Helper()
	var out, in []*Flow
	for _, e := range r.Facts {
		switch {
		case e.Flow == nil:
		case e.Flow.Direction == outbound:
			out = append(out, e.Flow)
		default:
			in = append(in, e.Flow)
		}
	}
	if len(out) != 1 || len(in) != 1 {
		t.Fatalf("%d flows out, %d in", len(out), len(in))
	}
	a, b := out[0], in[0]
	if a.Local != b.Peer || a.Peer != b.Local || a.Sent != b.Received || a.Received != b.Sent || a.Netns != b.Netns || a.Sent == 0 {
		t.Errorf("ends do not agree: %+v, %+v", a, b)
	}
}

func bothEnds(closed int) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		flowsMirror(t, r)
		for _, e := range r.Facts {
			if f := e.Flow; f != nil && (f.Opened != 1 || f.Closed != closed || f.Received == 0) {
				t.Errorf("flow of %s is %+v", e.Role, f)
			}
		}
	}
}

func peersAre(a netip.Addr) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		for _, e := range r.Facts {
			if e.Flow != nil && (e.Flow.Peer.Addr() != a || e.Flow.Local.Addr() != a) {
				t.Errorf("%s talks from %v to %v", e.Role, e.Flow.Local, e.Flow.Peer)
			}
		}
	}
}

// established: the kernel lists the connection (proc_pid_net(5)).
func established(t *testing.T, r *Result) {
	t.Helper()
	f := find(t, r, Connection, roleActor).Flow
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", r.Tgid))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("0100007F:%04X 0100007F:%04X 01 ", f.Local.Port(), f.Peer.Port())
	if !strings.Contains(string(table), want) {
		t.Errorf("%s is not in\n%s", want, table)
	}
}

// translated: the client calls one address and the server is reached at its own; the client arrives as another, or as whom its socket says.
func translated(server, called, arrives netip.Addr) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		client, accepted := find(t, r, Connection, roleActor).Flow, find(t, r, Connection, "server").Flow
		if client.Peer.Addr() != called || accepted.Local.Addr() != server {
			t.Errorf("a call of %v came to %v, want one of %v to %v", client.Peer, accepted.Local, called, server)
		}
		if accepted.Peer.Addr() != arrives {
			t.Errorf("the call of %v came from %v, want %v", client.Local, accepted.Peer, arrives)
		}
		if client.Opened != 1 || client.Closed != 1 || accepted.Opened != 1 || accepted.Closed != 1 ||
			client.Sent != accepted.Received || client.Received != accepted.Sent || client.Sent == 0 {
			t.Errorf("ends do not agree: %+v, %+v", client, accepted)
		}
	}
}
