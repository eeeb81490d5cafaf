// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.244.1.0
        /24 link UNICAST
     |-- 10.244.1.2
        /32 host LOCAL
     |-- 10.244.1.255
        /32 link BROADCAST
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 169.254.1.1
        /32 host LOCAL
     |-- nonsense
        /32 host LOCAL
Local:
     |-- 10.244.1.2
        /32 host LOCAL
`

const inet6 = `00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000042a51fffe0a0b0c 02 40 20 80     eth0
fd000000000000000000000000000a0b 02 40 00 80     eth0
0a0b 02 40 00 80 eth0
zz
`

func TestAddresses(t *testing.T) {
	if diff := cmp.Diff([]string{"10.244.1.2", "10.244.1.2"}, texts(fromTrie(trie))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"fd00::a0b"}, texts(fromInet6(inet6))); diff != "" {
		t.Error(diff)
	}
}

func texts(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

func newBook(t *testing.T) (b *Book, ns uint32) {
	t.Helper()
	b, err := NewBook(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	ns, b.host = b.host, 0
	return b, ns
}

// Addresses are those of one owner, or nobody's.
func TestWhoseNamespace(t *testing.T) {
	b, ns := newBook(t)
	self, now := uint32(os.Getpid()), time.Unix(1000, 0)
	b.known.Add(ns, &space{owner: "pod", container: true, addresses: []string{"10.0.0.1"}, read: now, members: []uint32{self}})
	if got := b.Enter(ns, 0, Owner{"pod", true}, now.Add(time.Hour)); len(got) != 1 {
		t.Errorf("addresses are %v: what was known went with the process", got)
	}
	if got := b.Enter(ns, self, Owner{"nsenter", false}, now); got != nil {
		t.Errorf("addresses of a visitor are %v", got)
	}
	if got := b.Enter(ns, self, Owner{"pod", true}, now); len(got) != 1 {
		t.Errorf("addresses are %v after a visit", got)
	}
	if got := b.Enter(ns, self, Owner{"another", true}, now); got != nil {
		t.Errorf("addresses are %v, and there are two owners", got)
	}
	if got := b.Enter(ns, self, Owner{"pod", true}, now); got != nil {
		t.Errorf("addresses are %v, and there were two owners", got)
	}
	b.host = ns + 1
	if got := b.Enter(ns+1, self, Owner{"pod", true}, now); got != nil || b.Len() != 1 {
		t.Errorf("the host's addresses are %v", got)
	}
}

// The number of a namespace that is gone is given to the next.
func TestNumbersAreUsedAgain(t *testing.T) {
	b, ns := newBook(t)
	const gone = 1 << 30 // no process has this id
	now := time.Unix(1000, 0)
	b.known.Add(ns, &space{owner: "old", container: true, addresses: []string{"10.0.0.1"}, read: now, members: []uint32{gone}})
	b.Enter(ns, uint32(os.Getpid()), Owner{"new", true}, now)
	if s, _ := b.known.Get(ns); s.owner != "new" || s.shared {
		t.Errorf("the next owner is not alone: %+v", s)
	}
	for tgid := range uint32(100) {
		b.Enter(ns, gone+tgid, Owner{"new", true}, now)
	}
	if s, _ := b.known.Get(ns); len(s.members) != 2*few || s.members[0] != uint32(os.Getpid()) || s.members[2*few-1] != gone+99 {
		t.Errorf("members are %v", s.members)
	}
}

// A namespace whose addresses come late is looked at again, and nobody takes those of another.
func TestAddressesThatComeLate(t *testing.T) {
	runtime.LockOSThread() // and not unlocked: the thread is in a namespace of its own, and ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Logf("without rights to make a network namespace, the test's own is looked at: %v", err)
	}
	b, _ := newBook(t)
	var st unix.Stat_t
	tid := uint32(unix.Gettid())
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	ns := uint32(st.Ino)
	b.known.Add(ns, &space{owner: "pod", container: true, read: now})
	b.Enter(ns, tid, Owner{"pod", true}, now.Add(time.Millisecond))
	if s, _ := b.known.Get(ns); !s.read.Equal(now) {
		t.Error("it was read again at once")
	}
	b.Enter(ns, tid, Owner{"pod", true}, now.Add(time.Second))
	if s, _ := b.known.Get(ns); s.read.Equal(now) {
		t.Error("it was not read again")
	}
	b.known.Add(ns+7, &space{owner: "other"})
	if got := b.Enter(ns+7, tid, Owner{"other", true}, now); got != nil {
		t.Errorf("addresses of another namespace are %v", got)
	}
}

// A table of a million routes is not read to its end.
func TestTablesWithoutEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fib_trie")
	if err := os.WriteFile(path, []byte(trie+strings.Repeat("     |-- 10.9.9.9\n        /32 link UNICAST\n", maxTable/20)), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := table(path)
	if err != nil || len(got) != maxTable {
		t.Fatalf("%d bytes were read, %v", len(got), err)
	}
	if all := fromTrie(got); !slices.Equal(all, fromTrie(trie)) {
		t.Errorf("it has the addresses %v", all)
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add(trie, inet6)
	f.Fuzz(func(t *testing.T, trie, inet6 string) {
		for _, a := range append(fromTrie(trie), fromInet6(inet6)...) {
			if !tells(a) {
				t.Errorf("%s is told", a)
			}
		}
	})
}
