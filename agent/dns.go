// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/workload"
)

const (
	// How many addresses have names at a time.
	namedAddresses = 32768
	// How many (name, process) one address has: big hosters have hundreds of names, and one process asks for few of them.
	namesOfAddress = 8
	// A name is good for at least this long, whatever its time to live: programs keep addresses longer than they should,
	// and connections longer still.
	nameKept = 15 * time.Minute
	// And at most for this long without being used.
	nameKeptMost = 24 * time.Hour
)

type addressKey struct {
	netNS   uint32
	address netip.Addr
}

// askedName is a name that led to an address, and who asked for it.
type askedName struct {
	name     string
	who      sensor.Who
	instance *workload.Instance
	until    time.Time
}

// askedNames knows by which name an address was found. It is not safe for concurrent use.
type askedNames struct {
	all *lru.LRU[addressKey, []askedName] // names in the order in which they were last asked for
	// Names that were good and were forgotten for want of room.
	evicted uint64
	now     time.Time
}

func newAskedNames(size int) (*askedNames, error) {
	n := &askedNames{}
	var err error
	n.all, err = lru.NewLRU(size, func(_ addressKey, names []askedName) {
		for _, a := range names {
			if n.now.Before(a.until) {
				n.evicted++
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("remember names of %d addresses: %w", size, err)
	}
	return n, nil
}

// learn remembers that p, in the network namespace, asked for name and got the addresses.
func (n *askedNames) learn(now time.Time, netNS uint32, p *process.Process, name string, ttl time.Duration, addresses []netip.Addr) {
	n.now = now
	fresh := askedName{name: name, who: p.Who, instance: p.Instance, until: now.Add(min(max(ttl, nameKept), nameKeptMost))}
	for _, address := range addresses {
		k := addressKey{netNS, address}
		known, _ := n.all.Get(k)
		names := make([]askedName, 0, len(known)+1)
		for _, a := range known {
			if now.Before(a.until) && (a.name != name || a.who != p.Who) {
				names = append(names, a)
			}
		}
		if len(names) == namesOfAddress {
			names = names[1:]
			n.evicted++
		}
		n.all.Add(k, append(names, fresh))
	}
}

// find returns the name by which p found the address: what it asked for itself last, else what its instance did, else what
// anybody in the network namespace did, a resolver that others ask by a Unix socket say. "" when nobody asked. A name that is
// used stays good.
func (n *askedNames) find(now time.Time, netNS uint32, p *process.Process, address netip.Addr) string {
	names, ok := n.all.Get(addressKey{netNS, address})
	if !ok {
		return ""
	}
	best, closeness := -1, 0
	for i, a := range names {
		c := 1
		switch {
		case !now.Before(a.until):
			continue
		case a.who == p.Who:
			c = 3
		case a.instance == p.Instance:
			c = 2
		}
		if c >= closeness { // the later one of two as close
			best, closeness = i, c
		}
	}
	if best < 0 {
		return ""
	}
	if again := now.Add(nameKept); again.After(names[best].until) {
		names[best].until = again
	}
	return names[best].name
}
