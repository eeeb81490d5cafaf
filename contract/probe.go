// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"net/netip"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// probeWindow is how long failed calls are counted together.
	probeWindow = time.Minute
	// probeTargets is how many peers and ports must fail in a window to look like a search.
	probeTargets = 16
	// probeAttempts is how many calls of one peer and port must fail in a window to look like a broken dependency.
	probeAttempts = 100
	// probeQuiet is how long neither must be seen for the finding to be over.
	probeQuiet = 10 * time.Minute
)

// probing counts the calls of a workload that failed in the running window.
type probing struct {
	since   time.Time
	targets map[probeTarget]uint64
}

type probeTarget struct {
	addr      netip.Addr
	port      uint32
	transport Transport
}

// probe looks at outbound calls that were refused or had no answer: flow.probe.
func (j *Judge) probe(w *workload, ev *spoorv1.Event, f *spoorv1.Flow, t time.Time) {
	failed := uint64(f.GetRefused()) + uint64(f.GetTimedOut())
	transport := transportOf(f.GetTransport())
	if failed == 0 || f.GetOpened() > 0 || transport == "" || f.GetDirection() != spoorv1.Direction_DIRECTION_OUTBOUND {
		return
	}
	p := j.peerOf(ev.GetNode(), f.GetPeer())
	if w.probing == nil || t.Sub(w.probing.since) >= probeWindow || t.Before(w.probing.since) {
		w.probing = &probing{since: t, targets: map[probeTarget]uint64{}}
	}
	target := probeTarget{p.addr, f.GetPeer().GetPort(), transport}
	counts := w.probing.targets
	// Beyond the number that makes a search, only peers that are counted already go on being counted.
	if _, known := counts[target]; known || len(counts) < probeTargets {
		counts[target] += failed
	}
	v := Verdict{Time: t, Evidence: []*spoorv1.Event{ev}}
	var m *matter
	switch {
	case len(counts) >= probeTargets:
		m = j.matter(w, RuleFlowProbe, "many peers")
		v.Severity = spoorv1.Severity_SEVERITY_HIGH
		v.Title = fmt.Sprintf("%s tried %d peers or more within a minute that refused or did not answer", w.describe(), probeTargets)
		v.Why = "A service knows its peers. One that tries many in vain is looking for something, as somebody does who has got in and wants to get on; or its configuration lists what is no longer there. The calls were made" + by(ev) + "."
		v.Fix = "Look at what the process does and who started it: spoor tree shows its parents. If it is a broken list of peers, correct it."
	case counts[target] >= probeAttempts:
		m = j.matter(w, RuleFlowProbe, flowSubject(RuleFlowEgress, &p, target.port, transport, false))
		v.Severity = spoorv1.Severity_SEVERITY_MEDIUM
		v.Title = fmt.Sprintf("%s calls %s in vain, %d times or more within a minute", w.describe(), m.key.subject, probeAttempts)
		v.Why = "The peer refuses or does not answer, and the service goes on calling: the dependency is broken, and the calls are a load of their own. They were made" + by(ev) + "."
		v.Fix = "Find out why the peer does not answer. If it is gone for good, take it out of the service's configuration and out of the contract; in any case, wait longer between attempts."
	default:
		return
	}
	m.endless = false
	if j.raise(m, t, ev) {
		j.tell(m, v)
	}
	j.fade(m, t.Add(probeQuiet), ev)
}
