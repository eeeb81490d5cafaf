// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// storePorts are where databases listen by default. Who puts one elsewhere says so with the purpose of a call.
var storePorts = map[uint32]string{
	1433: "Microsoft SQL Server", 1521: "Oracle", 2379: "etcd", 3050: "Firebird", 3306: "MySQL or MariaDB", 33060: "MySQL",
	5432: "PostgreSQL", 5433: "PostgreSQL", 5984: "CouchDB", 6379: "Redis", 6432: "PgBouncer", 7687: "Neo4j", 8086: "InfluxDB",
	9042: "Cassandra", 9200: "Elasticsearch", memcached: "memcached", 26257: "CockroachDB", 27017: "MongoDB",
}

const memcached = 11211

// maxStoreUsers bounds how many callers of one store are told apart.
const maxStoreUsers = 64

// storeKey is a backing store as its callers name it. Behind a loopback address there is another one on each node.
type storeKey struct {
	node, peer string
	port       uint32
}

// backingStore is who called it lately.
type backingStore struct {
	// By when they first did.
	users []*storeUser
}

type storeUser struct {
	key      workloadKey
	workload *spoorv1.Workload
	peer     peer
	event    *spoorv1.Event
	at       time.Time
}

// backing looks at calls of databases: share.database. Who calls one without a contract counts as well.
func (j *Judge) backing(w *workload, ev *spoorv1.Event, t time.Time, wait bool) {
	f := ev.GetFlow()
	port := servicePort(f)
	if f.GetDirection() != spoorv1.Direction_DIRECTION_OUTBOUND || transportOf(f.GetTransport()) != TCP || !arrived(f) || !isService(w.id) {
		return
	}
	p := j.peerOf(ev.GetNode(), f.GetPeer())
	key := storeKey{peer: p.String(), port: port}
	if p.workload == nil && p.addr.IsLoopback() {
		key.node = ev.GetNode()
	}
	s, known := j.stores.get(key)
	purpose := w.purposeOf(&p, port)
	if !known && storePorts[port] == "" && purpose != BackingService && purpose != SharedBackingService || ownBusiness(w.id, &p, f) || p.workload.Same(w.id) {
		return
	}
	if wait && p.workload == nil && p.addr.IsValid() && !Public(p.addr) {
		// The same store may have another address for each of its callers: they are told apart by name, when that is known.
		j.wait(w, heldKey{RuleShareDatabase, p.addr, port, TCP}, ev, t)
		return
	}
	j.release(w, RuleShareDatabase, &p, f)
	if !known {
		s = &backingStore{}
		j.stores.put(key, s)
	}
	me := &storeUser{nameOf(w.id), w.id, p, ev, t}
	switch i := slices.IndexFunc(s.users, func(u *storeUser) bool { return u.key == me.key }); {
	case i >= 0:
		s.users[i] = me
	case len(s.users) >= maxStoreUsers:
		j.unjudged.StoreUsers++
		return
	default:
		s.users = append(s.users, me)
	}
	s.users = slices.DeleteFunc(s.users, func(u *storeUser) bool { return t.Sub(u.at) > shareQuiet })
	for _, other := range s.users {
		if other != me {
			j.shareStore(w, me, other, port, t)
			j.shareStore(j.workload(other.workload), other, me, port, t)
		}
	}
}

// isService says whether a workload is one of those that come and go by themselves.
func isService(w *spoorv1.Workload) bool { return !isPerson(w) && w.GetKind() != "Host" }

// purposeOf is what the contract says a call is for; "" without one.
func (w *workload) purposeOf(p *peer, port uint32) Purpose {
	if w.policy == nil {
		return ""
	}
	for i := range w.policy.contract.Spec.Calls {
		one := Spec{Calls: w.policy.contract.Spec.Calls[i : i+1]}
		if one.Calls[0].Purpose != "" && one.allowsCall(w.id, p, port, TCP, answer{}).allowed {
			return one.Calls[0].Purpose
		}
	}
	return ""
}

// shareStore says that a workload has a store in common with another, if it has a contract that does not say so.
func (j *Judge) shareStore(w *workload, me, other *storeUser, port uint32, t time.Time) {
	if w.policy == nil || w.purposeOf(&me.peer, port) == SharedBackingService {
		return
	}
	m := j.matter(w, RuleShareDatabase, flowSubject(RuleShareDatabase, &me.peer, port, TCP, false))
	m.endless, m.other = false, other.workload
	if j.raise(m, t, me.event) {
		j.tell(m, w.storeVerdict(m.key.subject, me, other, port, t))
	}
	j.fade(m, t.Add(shareQuiet), me.event)
}

func (w *workload) storeVerdict(subject string, me, other *storeUser, port uint32, t time.Time) Verdict {
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_MEDIUM, Time: t, Evidence: []*spoorv1.Event{other.event, me.event}}
	if port == memcached {
		v.Severity = spoorv1.Severity_SEVERITY_LOW // what is in it may be lost at any time, and nobody asks it for truth
	}
	what := "one backing store"
	if product := storePorts[port]; product != "" {
		what += " (" + product + " by its port)"
	}
	v.Title = fmt.Sprintf("%s and %s call %s, %s", w.describe(), workloadName(other.workload), what, subject)
	if subject == others {
		v.Title = fmt.Sprintf("%s shares many more backing stores, last %s with %s", w.describe(), &me.peer, workloadName(other.workload))
	}
	v.Why = fmt.Sprintf("Two services behind one database are one service in two places: neither can change its tables, its load or its version alone. Whether they use the same tables of it cannot be seen from here. It was called%s, and by the other%s.",
		by(me.event), by(other.event))
	entry := Call{Port: portOrNone(port), Purpose: SharedBackingService}
	switch {
	case me.peer.workload != nil:
		entry.Workload = refTo(me.peer.workload, w.id)
	case len(me.peer.names) > 0 && new(DNSName).UnmarshalText([]byte(me.peer.names[0])) == nil:
		entry.DNS = DNSName(me.peer.names[0])
	default:
		entry.CIDR = hostCIDR(me.peer.addr)
	}
	v.Fix = fmt.Sprintf("Give each its own database, and let the one that does not own the data ask the other. If both agreed to share the server, give the call in spec.calls of %s that purpose: %s", w.contractIn(), Line(entry))
	return v
}
