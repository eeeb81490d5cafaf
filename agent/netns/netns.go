// SPDX-License-Identifier: Apache-2.0

// Package netns says which addresses a network namespace has, and whether it is that of one pod or container alone: then who is
// behind an address is known without a look at any connection.
//
// It reads /proc of a process that is in the namespace and enters none. It knows no workloads but by the keys that it is given.
package netns

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/spoor/spoor/agent/kernel"
)

const (
	// How many namespaces are remembered.
	remembered = 8192
	// How many addresses of one are kept.
	maxAddresses = 16
	// How long addresses are believed when a further program begins, and how long their absence is.
	believed      = 30 * time.Second
	absenceIsTrue = 100 * time.Millisecond
	// Bytes of a table of routes and of one of addresses that are read: who has a namespace of his own may have a million of either.
	maxTable = 256 << 10
)

// Book remembers namespaces. It is not safe for concurrent use.
type Book struct {
	host      uint32
	known     *lru.LRU[uint32, *space]
	forgotten uint64
}

type space struct {
	owner     string
	container bool
	shared    bool
	addresses []string
	read      time.Time
	// Processes that were seen in it: the first few, and the latest.
	members []uint32
}

// NewBook returns a Book that knows which namespace is the host's: that of the process hostTgid.
func NewBook(hostTgid uint32) (*Book, error) {
	host, err := kernel.Namespace(hostTgid, "net")
	if err != nil {
		return nil, fmt.Errorf("the host's network: %w", err)
	}
	known, err := lru.NewLRU[uint32, *space](remembered, nil)
	if err != nil {
		return nil, fmt.Errorf("remember network namespaces: %w", err)
	}
	return &Book{host: host, known: known}, nil
}

// Owner is who a process belongs to.
type Owner struct {
	// The same for all containers of a pod.
	Key string
	// It is a container: who is none but enters the namespace of one only looks after it.
	Container bool
}

// Enter says that a process of an owner is in a namespace, and returns the namespace's addresses: none when it is the host's, or
// that of several, or that of none that is a container.
func (b *Book) Enter(ns, tgid uint32, owner Owner, now time.Time) []string {
	if ns == 0 || ns == b.host {
		return nil
	}
	s, ok := b.known.Get(ns)
	if !ok {
		s = &space{owner: owner.Key, container: owner.Container}
		if b.known.Add(ns, s) {
			b.forgotten++
		}
	}
	if s.owner != owner.Key && !s.inhabited(ns) { // its number was given to another
		*s = space{owner: owner.Key, container: owner.Container}
	}
	s.note(tgid)
	if s.owner != owner.Key {
		if s.container && !owner.Container {
			return nil
		}
		s.shared = true
	}
	if s.shared || !owner.Container {
		return nil
	}
	believe := believed
	if len(s.addresses) == 0 {
		believe = absenceIsTrue
	}
	if now.Sub(s.read) >= believe {
		if addresses, whole, err := read(tgid, ns); err == nil { // else it is gone: what was read earlier holds
			s.addresses, s.read = addresses, now
			if !whole {
				s.read = now.Add(believed) // absence, too
			}
		}
	}
	return s.addresses
}

// How many processes of a namespace are remembered of each kind.
const few = 4

func (s *space) note(tgid uint32) {
	if slices.Contains(s.members, tgid) {
		return
	}
	if len(s.members) == 2*few {
		s.members = slices.Delete(s.members, few, few+1)
	}
	s.members = append(s.members, tgid)
}

// inhabited says whether any of those is there still.
func (s *space) inhabited(ns uint32) bool {
	return slices.ContainsFunc(s.members, func(tgid uint32) bool {
		now, err := kernel.Namespace(tgid, "net")
		return err == nil && now == ns
	})
}

// Len returns how many namespaces are remembered.
func (b *Book) Len() int { return b.known.Len() }

// Forgotten returns how many namespaces were forgotten for want of room.
func (b *Book) Forgotten() uint64 { return b.forgotten }

var errElsewhere = errors.New("the process is in another network namespace by now")

// read reads the addresses of the namespace that a process is in, and says whether its tables were read to their ends.
func read(tgid, ns uint32) (addresses []string, whole bool, err error) {
	if now, err := kernel.Namespace(tgid, "net"); err != nil {
		return nil, false, err
	} else if now != ns {
		return nil, false, errElsewhere
	}
	proc := fmt.Sprintf("/proc/%d", tgid)
	trie, err := table(proc + "/net/fib_trie")
	if err != nil {
		return nil, false, err
	}
	addrs := fromTrie(trie)
	six, err := table(proc + "/net/if_inet6")
	if err == nil { // there is none without IPv6
		addrs = append(addrs, fromInet6(six)...)
	}
	for _, a := range addrs {
		if s := a.String(); !slices.Contains(addresses, s) && len(addresses) < maxAddresses {
			addresses = append(addresses, s)
		}
	}
	return addresses, len(trie) < maxTable && len(six) < maxTable, nil
}

func table(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTable))
	return string(b), err
}

// tells says whether an address tells one machine from another.
func tells(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsMulticast()
}

// fromTrie reads the addresses of a /proc/PID/net/fib_trie file (net/ipv4/fib_trie.c): a leaf "|-- ADDRESS", and below it
// "/32 host LOCAL" when it is one of this machine.
func fromTrie(file string) []netip.Addr {
	var out []netip.Addr
	var leaf netip.Addr
	for line := range strings.Lines(file) {
		line = strings.TrimSpace(line)
		if at, ok := strings.CutPrefix(line, "|-- "); ok {
			leaf, _ = netip.ParseAddr(at) // what is none is not valid
			continue
		}
		if line == "/32 host LOCAL" && tells(leaf) {
			out = append(out, leaf)
		}
	}
	return out
}

// fromInet6 reads the addresses of a /proc/PID/net/if_inet6 file (net/ipv6/addrconf.c): 32 hex digits, then index, length of the
// prefix, scope, flags and device.
func fromInet6(file string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(file) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		b, err := hex.DecodeString(f[0])
		if err != nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(b); ok && a.Is6() && tells(a) {
			out = append(out, a)
		}
	}
	return out
}
