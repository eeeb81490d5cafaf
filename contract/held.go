// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/netip"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// heldKey says which flows wait together: those to or from one unknown peer.
type heldKey struct {
	rule      string
	addr      netip.Addr
	port      uint32
	transport Transport
}

// heldFlow is a flow that is no violation if its peer turns out to be who the contract names, or that a verdict can
// tell of better when it is known. Identity and DNS names arrive over other ways than the flow does and may be later.
type heldFlow struct {
	workload *workload
	key      heldKey
	event    *spoorv1.Event
	alarm
}

func keyOfHeld(rule string, p *peer, f *spoorv1.Flow) heldKey {
	return heldKey{rule, p.addr, servicePort(f), transportOf(f.GetTransport())}
}

func (j *Judge) hold(w *workload, rule string, p *peer, ev *spoorv1.Event, t time.Time) {
	key := keyOfHeld(rule, p, ev.GetFlow())
	if h, ok := w.held[key]; ok {
		h.event = ev
		j.held.get(h)
		return
	}
	if m, ok := w.matters[matterKey{rule, flowSubject(rule, p, key.port, key.transport, false)}]; ok && m.open {
		// It has waited before, in vain.
		j.deny(w, rule, p, ev, t, false)
		return
	}
	j.wait(w, key, ev, t)
}

// wait keeps a flow until its peer is known, or not known for long enough.
func (j *Judge) wait(w *workload, key heldKey, ev *spoorv1.Event, t time.Time) {
	if h, ok := w.held[key]; ok {
		h.event = ev
		j.held.get(h)
		return
	}
	h := &heldFlow{workload: w, key: key, event: ev}
	if w.held == nil {
		w.held = map[heldKey]*heldFlow{}
	}
	w.held[key] = h
	j.schedule.set(h, t.Add(j.limits.Grace))
	j.held.put(h, struct{}{})
}

// release stops waiting.
func (j *Judge) release(w *workload, rule string, p *peer, f *spoorv1.Flow) {
	if len(w.held) == 0 {
		return
	}
	if h, ok := w.held[keyOfHeld(rule, p, f)]; ok {
		j.dropHeld(h)
	}
}

func (j *Judge) dropHeld(h *heldFlow) {
	j.schedule.cancel(h)
	j.held.remove(h)
	delete(h.workload.held, h.key)
}

// forgetHeld tells of a flow that was given up for want of room.
func (j *Judge) forgetHeld(h *heldFlow) {
	j.dropHeld(h)
	h.decide(j)
}

func (h *heldFlow) expire(j *Judge) {
	j.dropHeld(h)
	h.decide(j)
}

// decide asks once more, since names may have come, and does not wait again.
func (h *heldFlow) decide(j *Judge) {
	p := j.peerOf(h.event.GetNode(), h.event.GetFlow().GetPeer())
	t := timeOr(h.event.GetTime(), j.now)
	if h.key.rule == RuleShareDatabase {
		j.backing(h.workload, h.event, t, false)
		return
	}
	if a := j.ask(h.workload, h.key.rule, h.event, &p); !a.allowed {
		j.deny(h.workload, h.key.rule, &p, h.event, t, a.name && !j.seesNames(h.event.GetNode()))
	}
}

// deny makes a flow the event of a matter.
func (j *Judge) deny(w *workload, rule string, p *peer, ev *spoorv1.Event, t time.Time, nameless bool) {
	f := ev.GetFlow()
	port, transport := servicePort(f), transportOf(f.GetTransport())
	m := j.matter(w, rule, flowSubject(rule, p, port, transport, nameless))
	// That somebody calls no longer is known only when the peer turns out to be allowed.
	m.endless = true
	if !j.raise(m, t, ev) {
		return
	}
	var v Verdict
	if rule == RuleFlowCaller {
		v = w.callerVerdict(p, ev, m.key.subject == others)
	} else {
		v = w.egressVerdict(p, ev, nameless, m.key.subject == others)
	}
	v.Time, v.Evidence = t, []*spoorv1.Event{ev}
	j.tell(m, v)
}

// absolve stops waiting for a peer that is known now, and clears what was said of its bare address.
func (j *Judge) absolve(w *workload, rule string, p *peer, ev *spoorv1.Event, t time.Time) {
	f := ev.GetFlow()
	j.release(w, rule, p, f)
	if len(w.matters) == 0 {
		return
	}
	bare := peer{addr: p.addr}
	for _, nameless := range []bool{false, true} {
		m, ok := w.matters[matterKey{rule, flowSubject(rule, &bare, servicePort(f), transportOf(f.GetTransport()), nameless)}]
		// Where several peers share a verdict, only the last one can take it back.
		if ok && m.open && parseAddr(m.event.GetFlow().GetPeer().GetAddress()) == p.addr {
			m.endless = false
			j.quieten(m, t, ev)
		}
	}
}
