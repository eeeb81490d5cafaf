// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strconv"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

type portKey struct {
	transport Transport
	address   string
	netNS     uint32
	port      uint32
}

// maxPorts bounds how many listeners of one instance are followed to their end.
const maxPorts = 1024

// Linux hands out ports of this range to whoever asks for any (net.ipv4.ip_local_port_range).
var anyPort = Ports{32768, 60999}

// listen takes a listener that appeared or closed: flow.listener.
func (j *Judge) listen(in *instance, ev *spoorv1.Event, l *spoorv1.Listen, t time.Time) {
	w := in.workload
	spec := &w.policy.contract.Spec
	transport := transportOf(l.GetTransport())
	if spec.Listens == nil || transport == "" {
		return
	}
	key := portKey{transport, l.GetLocal().GetAddress(), l.GetNetNs(), l.GetLocal().GetPort()}
	m, known := in.ports[key]
	if l.GetClosed() {
		if known {
			delete(in.ports, key)
			j.settle(m, t, ev)
		}
		return
	}
	if spec.allowsListen(key.port, transport) {
		return
	}
	if !known || m.dead {
		m = j.matter(w, RuleFlowListener, listenSubject(l, transport))
		switch {
		case len(in.ports) >= maxPorts:
			m.endless = true
		default:
			if in.ports == nil {
				in.ports = map[portKey]*matter{}
			}
			in.ports[key] = m
			m.causes++
		}
	}
	if j.raise(m, t, ev) {
		v := w.listenVerdict(l, transport, ev, m.key.subject == others)
		v.Time, v.Evidence = t, []*spoorv1.Event{ev}
		j.tell(m, v)
	}
}

func (s *Spec) allowsListen(port uint32, transport Transport) bool {
	for _, l := range s.Listens {
		if l.Transport.orTCP() == transport && l.Port.contains(port) {
			return true
		}
	}
	return false
}

// listenSubject tells listeners that others can reach from those that they cannot. Addresses of replicas differ, so
// they are not told apart; nor are ports that the kernel chose.
func listenSubject(l *spoorv1.Listen, transport Transport) string {
	host := "*"
	if parseAddr(l.GetLocal().GetAddress()).IsLoopback() {
		host = "localhost"
	}
	port := strconv.FormatUint(uint64(l.GetLocal().GetPort()), 10)
	if anyPort.contains(l.GetLocal().GetPort()) {
		port = anyPort.String()
	}
	return host + ":" + port + "/" + string(transport)
}
