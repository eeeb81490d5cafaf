// SPDX-License-Identifier: Apache-2.0

// Package nat knows where the node sends connections instead of to the address that their client called, and as whom: the
// translations that the kernel keeps of the network namespace that the agent runs in (conntrack).
//
// It reads the whole table, when it is asked for connections that it does not know, and seldom enough to spend a fiftieth of a core
// on that at most. It changes nothing in it.
package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// How many translated connections are kept.
	maxKept = 65536
	// The pauses between two readings: as many times as long as one computes, and no less than the least.
	rest     = 50
	minPause = 400 * time.Millisecond
)

// Connection is what its client sees of one.
type Connection struct {
	// IPPROTO_*
	Protocol       uint8
	Client, Server netip.AddrPort
}

// Translation is what the other end sees of it.
type Translation struct{ Client, Server netip.AddrPort }

// Table is the latest reading. It is not safe for concurrent use.
type Table struct {
	known map[Connection]Translation
	next  time.Time
	full  uint64
	read  func(fn func(message []byte)) error
}

// Open reads the table for the first time. Its error says why that cannot be done.
func Open() (*Table, error) {
	t := &Table{read: all}
	_, err := t.Refresh(time.Now())
	t.read = allIfAny
	return t, err
}

// Refresh reads the table again, unless that was done a moment ago, and reports whether it did.
func (t *Table) Refresh(now time.Time) (bool, error) {
	if now.Before(t.next) {
		return false, nil
	}
	runtime.LockOSThread() // whose time is measured: on a busy machine the clock would say more of others
	defer runtime.UnlockOSThread()
	begun := cpu()
	known := map[Connection]Translation{}
	err := t.read(func(message []byte) {
		c, to, ok := parse(message)
		switch {
		case !ok:
		case len(known) >= maxKept:
			t.full++
		default:
			known[c] = to
		}
	})
	t.next = now.Add(max(minPause, rest*(cpu()-begun)))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // interrupted: it changed meanwhile, and is good enough
		return true, err
	}
	t.known = known
	return true, nil
}

// cpu is the processor time that this thread has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Of returns the translation of a connection, if it has one.
func (t *Table) Of(c Connection) (Translation, bool) {
	to, ok := t.known[c]
	return to, ok
}

// Full returns how many translated connections found no room.
func (t *Table) Full() uint64 { return t.full }

// countFile has the number of connections in the table of the reader's network namespace.
const countFile = "/proc/sys/net/netfilter/nf_conntrack_count"

// allIfAny asks for all connections where there are some: the kernel walks every bucket of its table for it, 262,144 on a machine of some size.
func allIfAny(fn func(message []byte)) error {
	if b, err := os.ReadFile(countFile); err == nil && strings.TrimSpace(string(b)) == "0" {
		return nil
	}
	return all(fn)
}

// all asks for all connections, of both families at a time (ctnetlink, IPCTNL_MSG_CT_GET).
func all(fn func(message []byte)) error {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|int(nl.IPCTNL_MSG_CT_GET), unix.NLM_F_DUMP)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	err := r.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		fn(message)
		return true
	})
	if err != nil {
		return fmt.Errorf("read the translations of addresses (conntrack): %w", err)
	}
	return nil
}
