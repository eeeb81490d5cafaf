// SPDX-License-Identifier: Apache-2.0

package contract

// reconsider applies a changed contract to what is known of its workload.
func (j *Judge) reconsider(w *workload) {
	for _, in := range w.instances {
		// What the scratch entries stand for has changed: count anew.
		for i := range in.scratch {
			if m := in.scratch[i].matter; m != nil {
				j.settle(m, j.now, nil)
			}
		}
		in.scratch = make([]scratchUse, len(w.policy.scratch))
		for _, f := range in.allFiles() {
			f.scratch = -1
			j.schedule.cancel(f)
			j.acquit(f, j.now, f.latest())
			j.weigh(f, j.now, false)
		}
		for key, m := range in.ports {
			if s := w.policy.contract.Spec; s.Listens == nil || s.allowsListen(key.port, key.transport) {
				delete(in.ports, key)
				j.settle(m, j.now, nil)
			}
		}
	}
	for key, m := range w.matters {
		if m.open && j.isOver(w, key, m) {
			j.clear(m, j.now, nil)
		}
	}
}

// isOver says whether a matter is none under the contract as it is now.
func (j *Judge) isOver(w *workload, key matterKey, m *matter) bool {
	spec := &w.policy.contract.Spec
	switch key.rule {
	case RuleFlowEgress, RuleFlowCaller:
		if key.rule == RuleFlowEgress && spec.Calls == nil || key.rule == RuleFlowCaller && spec.Callers == nil {
			return true
		}
		if key.subject == others {
			return false // the last of many says nothing about the rest
		}
		p := j.peerOf(m.event.GetNode(), m.event.GetFlow().GetPeer())
		return j.ask(w, key.rule, m.event, &p).allowed
	case RuleFlowListener:
		return spec.Listens == nil || m.causes == 0 && !m.endless
	case RuleFlowProbe:
		return false
	case RuleShareFile, RuleShareMemory, RuleShareSocket:
		f, other := m.event.GetFileWrite().GetFile(), m.other
		if s := m.event.GetShare(); s != nil {
			f = s.GetFile()
		}
		place, _ := w.policy.place(pathOf(f), f.GetPathTruncated())
		return key.subject != others && w.policy.agreesToShare(key.rule, w.id, other, f, place)
	case RuleStateSurvives:
		place, _ := w.policy.place(pathOf(m.event.GetShare().GetFile()), false)
		return place == inVolume || w.state() != Stateless
	case RuleShareDatabase:
		f := m.event.GetFlow()
		p := j.peerOf(m.event.GetNode(), f.GetPeer())
		return key.subject != others && w.purposeOf(&p, servicePort(f)) == SharedBackingService
	case RuleExecDrift:
		return key.subject != others && w.policy.hasPrograms(m.path)
	case RuleFlowContention, RuleBlindLoss, RuleBlindSensor, RuleBlindAgent:
		return false
	default:
		return m.causes == 0 && !m.endless
	}
}
