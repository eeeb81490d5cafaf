// SPDX-License-Identifier: Apache-2.0

package contract

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

// AllowsFlow says how the contract answers a flow of the workload self that was seen on a node, by what the flow
// itself says of its peer. Judged is false when the contract does not speak of that side at all.
func (c *Contract) AllowsFlow(self *spoorv1.Workload, node string, f *spoorv1.Flow) (allowed, judged bool) {
	transport := transportOf(f.GetTransport())
	p := peerOf(newRecent[nameKey, []string](1, nil), node, f.GetPeer())
	switch f.GetDirection() {
	case spoorv1.Direction_DIRECTION_OUTBOUND:
		judged = c.Spec.Calls != nil
		allowed = c.Spec.needsNames() && resolves(&p, servicePort(f), transport) ||
			c.Spec.allowsCall(self, &p, servicePort(f), transport, answer{}).allowed
	case spoorv1.Direction_DIRECTION_INBOUND:
		judged = c.Spec.Callers != nil
		allowed = kubelet(p.workload, node) || c.Spec.allowsCaller(self, &p, servicePort(f), transport, answer{}).allowed
	}
	if transport == "" || !judged {
		return true, false
	}
	return allowed || ownBusiness(self, &p, f), true
}

// AllowsListen says whether the contract has a listening port. Judged is false when it does not speak of listeners.
func (c *Contract) AllowsListen(port uint32, transport spoorv1.Transport) (allowed, judged bool) {
	if t := transportOf(transport); t != "" && c.Spec.Listens != nil {
		return c.Spec.allowsListen(port, t), true
	}
	return true, false
}
